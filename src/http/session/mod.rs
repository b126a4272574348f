//! `/api/v1/session`: a cookie for browsers, whose `EventSource` sends no headers. It may only read.

pub mod close;
pub mod open;

use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::ApiState;
use super::auth::headers::COOKIE;
use super::extract::peer;

/// `Set-Cookie`, for a browser that keeps `value` for `seconds`. No script reads it, no other site makes a browser send it, and it crosses
/// the network in TLS alone: only a plain connection from this machine itself may do without.
fn cookie(value: &str, seconds: u64, secure: bool) -> HeaderMap {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut headers = HeaderMap::new();
    // Ours, of visible ASCII.
    if let Ok(mut value) = HeaderValue::try_from(text) {
        value.set_sensitive(true);
        headers.insert(header::SET_COOKIE, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
}

/// Whether a cookie that is set now is for TLS alone.
fn is_secure(parts: &Parts, state: &ApiState) -> bool {
    !peer(parts).is_loopback() || !state.config.trusted_proxies.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_script_and_no_other_site_gets_at_the_cookie() {
        let text = cookie("x", 60, true)[header::SET_COOKIE].to_str().unwrap().to_owned();
        assert_eq!(text, "panda_session=x; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure");
        assert!(!cookie("x", 60, false)[header::SET_COOKIE].to_str().unwrap().contains("Secure"));
    }
}
