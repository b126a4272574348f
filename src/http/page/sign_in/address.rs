//! The address at which browsers reach this server, which an issuer needs in order to return to it.

use axum::http::header;
use axum::http::request::Parts;
use url::Url;

use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::error::server::ServerError;
use crate::http::middleware::real_ip::{Proxies, peer};
use crate::http::routes::session::is_secure;

/// Path to which issuers return. It is part of the address that operators register at them.
pub(super) const CALLBACK: &str = "/sign-in/callback";

/// The address to which issuers return: by the host that the outermost trusted proxy reports, else by `Host`. The issuer compares it with what is
/// registered there, so that a forged header gains nothing.
pub(super) fn redirect_uri(parts: &Parts, state: &ApiState) -> Result<String, ApiError> {
    let (proxies, peer) = (Proxies::from(&*state.config), peer(parts));
    let own = || parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = proxies.hosts(peer, &parts.headers).first().copied().or_else(own).unwrap_or_default();
    // Where cookies need TLS, a proxy that reports no scheme terminates it.
    let is_tls = state.config.tls().is_some() || is_secure(parts, state);
    let scheme = proxies.scheme(peer, &parts.headers).unwrap_or(if is_tls { "https" } else { "http" });
    let origin =
        Url::parse(&format!("{scheme}://{host}")).ok().filter(|url| url.path() == "/" && url.username().is_empty());
    let origin = origin.filter(|url| url.query().is_none() && url.fragment().is_none()).ok_or(ServerError::Internal)?;
    Ok(format!("{}{}{CALLBACK}", origin.as_str().trim_end_matches('/'), state.config.base_path))
}
