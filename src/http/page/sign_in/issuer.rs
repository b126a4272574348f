//! `GET /sign-in/issuer?use=INDEX&next=PATH`: begins a sign-in with an issuer. It stores nothing on the server: the browser gets a cookie.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::address::redirect_uri;
use super::form::field;
use super::next::local_path;
use super::refuse;
use crate::http::ApiState;
use crate::http::auth::error::AccessError;
use crate::http::auth::oidc::sign_in::{LIFETIME, PendingSignIn};
use crate::http::error::ApiError;
use crate::http::error::server::ServerError;
use crate::http::middleware::real_ip::Client;
use crate::http::page::context::Page;
use crate::http::routes::session::is_secure;

/// Name of the cookie with the sign-in that a browser began.
pub(super) const COOKIE: &str = "panda_sign_in";

/// Sends the browser to the issuer.
pub async fn handle(
    State(state): State<ApiState>,
    Client(client): Client,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let next = local_path(field(query, "next").as_deref());
    let index = field(query, "use").and_then(|index| index.parse().ok());
    let verifier = state.auth.sign_in().ok_or(ServerError::RouteNotFound)?;
    let issuer = index.and_then(|index| verifier.sign_in_issuer(index)).ok_or(ServerError::RouteNotFound)?;
    let page = Page::of(&parts, &state);
    let pending = PendingSignIn::begin(issuer, &next).map_err(|_| ServerError::Internal)?;
    let begun = async {
        state.auth.check_sign_in_rate(client)?;
        let found = verifier.authorization(&pending, &redirect_uri(&parts, &state)?).await;
        found.map_err(|error| {
            tracing::warn!(issuer, %error, "sign-in with an issuer not begun");
            ApiError::from(AccessError::IssuerUnavailable(error))
        })
    };
    match begun.await {
        Ok(address) => {
            let seconds = LIFETIME.num_seconds();
            let cookie = (header::SET_COOKIE, cookie(&pending.cookie(), seconds, &parts, &state)?);
            Ok(([cookie, NO_STORE], Redirect::to(address.as_str())).into_response())
        }
        Err(error) => refuse(&state, &page, &next, &error),
    }
}

/// Header of responses that set a cookie.
pub(super) const NO_STORE: (header::HeaderName, HeaderValue) =
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// A `Set-Cookie` header. `SameSite=Lax`, because the issuer leads the browser back.
pub(super) fn cookie(value: &str, seconds: i64, parts: &Parts, state: &ApiState) -> Result<HeaderValue, ApiError> {
    let secure = if is_secure(parts, state) { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    let mut value = HeaderValue::try_from(text).map_err(|_| ServerError::Internal)?;
    value.set_sensitive(true);
    Ok(value)
}
