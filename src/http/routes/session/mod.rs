//! `/api/v1/session`: a cookie for browsers, whose `EventSource` cannot set headers. A session of this endpoint may only read; the web page's sign-in
//! (`http/page/sign_in`) opens those that may do what their token may, with the same cookie.

pub mod close;
pub mod open;

use std::net::IpAddr;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;

use crate::commands::sessions::{SessionRequest, close_session, open_session};
use crate::domain::principal::Caller;
use crate::domain::token::{self, SecretHash};
use crate::http::ApiState;
use crate::http::auth::Grant;
use crate::http::auth::headers::{self, COOKIE};
use crate::http::error::ApiError;
use crate::http::error::server::ServerError;
use crate::http::middleware::real_ip::peer;
use crate::http::middleware::request_id::request_id;

/// Opens a session for a caller, whose browser gets a new cookie; returns the session's end as well. A cookie that the browser already has is never
/// reused, so that a planted one gains nothing.
pub(in crate::http) async fn begin(
    state: &ApiState,
    parts: &Parts,
    (grant, caller): (&Grant, &Caller),
    lasts: Duration,
    writes: bool,
) -> Result<(HeaderMap, DateTime<Utc>), ApiError> {
    state.auth.check_session_rate(&caller.principal.subject)?;
    let secret = token::session().map_err(|_| ServerError::Internal)?;
    let hash = token::hash(&secret);
    let request = SessionRequest { hash: &hash, credential: grant.credential(), writes, lasts };
    let (expires_at, left) = open_session(&state.db, request, caller).await?;
    Ok((cookie(secret.expose_secret(), left.as_secs(), is_secure(parts, state)), expires_at))
}

/// Closes the session of the request's cookie and removes the cookie. False without a cookie.
pub(in crate::http) async fn end(
    state: &ApiState,
    parts: &Parts,
    address: IpAddr,
) -> Result<(HeaderMap, bool), ApiError> {
    let session = headers::session(&parts.headers).map(SecretHash::of);
    if let Some(hash) = &session {
        let by = Caller { address, request_id: request_id(&parts.headers).to_owned(), ..Caller::local() };
        close_session(&state.db, hash, &by).await?;
        state.auth.end_session(hash);
    }
    Ok((cookie("", 0, is_secure(parts, state)), session.is_some()))
}

/// Builds a `Set-Cookie` header that keeps `value` for `seconds`. Scripts cannot read the cookie, other sites cannot make a browser send it, and it
/// is sent over TLS only, except on a plain connection from this machine.
fn cookie(value: &str, seconds: u64, secure: bool) -> HeaderMap {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut headers = HeaderMap::new();
    // Always valid: the value is generated here, of visible ASCII.
    if let Ok(mut value) = HeaderValue::try_from(text) {
        value.set_sensitive(true);
        headers.insert(header::SET_COOKIE, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
}

/// Decides the `Secure` attribute of cookies. Only a direct connection from the loopback address does without.
pub(in crate::http) fn is_secure(parts: &Parts, state: &ApiState) -> bool {
    !peer(parts).is_loopback() || !state.config.trusted_proxies.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_is_http_only_and_same_site() {
        let text = cookie("x", 60, true)[header::SET_COOKIE].to_str().unwrap().to_owned();
        assert_eq!(text, "panda_session=x; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure");
        assert!(!cookie("x", 60, false)[header::SET_COOKIE].to_str().unwrap().contains("Secure"));
    }
}
