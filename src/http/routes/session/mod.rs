//! `/api/v1/session`: a cookie for browsers, whose `EventSource` cannot set headers. The cookie grants read access only.

pub mod close;
pub mod open;

use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::http::ApiState;
use crate::http::auth::headers::COOKIE;
use crate::http::middleware::real_ip::peer;

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

/// Decides the cookie's `Secure` attribute. Only a direct connection from the loopback address does without.
fn is_secure(parts: &Parts, state: &ApiState) -> bool {
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
