//! Reads credentials from a request: bearer token, session cookie and ticket.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use url::form_urlencoded;

use crate::domain::message::message;
use crate::http::auth::error::AccessError;
use crate::http::error::ApiError;

/// Name of the session cookie.
pub const COOKIE: &str = "panda_session";

/// Longest bearer token, in bytes. Tokens of OpenID Connect issuers have some thousand bytes.
const MAX_BEARER: usize = 8 * 1024;

/// Longest session or ticket, in bytes. Panda issues 72 bytes.
const MAX_ISSUED: usize = 128;

/// The bearer token; none without an `Authorization` header.
///
/// # Errors
/// [`AccessError::NotSignedIn`] when there are two such headers, or the header holds anything but `Bearer` and a token.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), second) = (given.next(), given.next()) else { return Ok(None) };
    if second.is_some() {
        return Err(AccessError::NotSignedIn(message!("NOT_SIGNED_IN.two_headers")).into());
    }
    let token = value.to_str().ok().and_then(|value| value.split_once(' ')).and_then(|(scheme, token)| {
        let token = token.trim_matches(' ');
        (scheme.eq_ignore_ascii_case("bearer") && fits(token, MAX_BEARER)).then_some(token)
    });
    token.map(Some).ok_or_else(|| AccessError::NotSignedIn(message!("NOT_SIGNED_IN.not_bearer")).into())
}

/// The value of the session cookie; none unless there is exactly one. A second cookie of this name, set by another path or domain, could be an
/// attacker's, so neither is used.
pub fn session(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut ours = pairs.flat_map(|value| value.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    });
    match (ours.next(), ours.next()) {
        (Some(value), None) => fits(value, MAX_ISSUED).then_some(value),
        _ => None,
    }
}

/// Reads `ticket=` from the query; none if it has the wrong length or characters.
pub(super) fn ticket(query: Option<&str>) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs
        .find(|(name, _)| name == "ticket")
        .map(|(_, value)| value.into_owned())
        .filter(|value| fits(value, MAX_ISSUED))
}

/// True when the `Host` header names this machine alone (`localhost` or a loopback address), or is missing: a browser always sends one.
pub(super) fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Some(Ok(authority)) = host.to_str().ok().map(str::parse::<Authority>) else { return false };
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(name == "localhost" || name.ends_with(".localhost"), |address| address.to_canonical().is_loopback())
}

fn fits(secret: &str, most: usize) -> bool {
    (1..=most).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &header::HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn reads_exactly_one_bearer_token() {
        let read = |values: &[&str]| {
            bearer(&headers(&header::AUTHORIZATION, values)).map(|token| token.map(ToOwned::to_owned)).ok()
        };
        assert_eq!(read(&["Bearer abc"]), Some(Some("abc".to_owned())));
        assert_eq!(read(&["bearer  a.b-c_d=="]), Some(Some("a.b-c_d==".to_owned())));
        assert_eq!(read(&[]), Some(None));
        for refused in
            [&["abc"][..], &["Basic abc"], &["Bearer "], &["Bearer a b"], &["Bearer\tabc"], &["Bearer a", "Bearer a"]]
        {
            assert_eq!(read(refused), None, "{refused:?}");
        }
        assert_eq!(read(&[&format!("Bearer {}", "x".repeat(MAX_BEARER + 1))]), None);
    }

    #[test]
    fn reads_exactly_one_session_cookie() {
        let read = |values: &[&str]| session(&headers(&header::COOKIE, values)).map(ToOwned::to_owned);
        assert_eq!(read(&["a=b; panda_session=x; c=d"]).as_deref(), Some("x"));
        assert_eq!(read(&["a=b", "panda_session=x"]).as_deref(), Some("x"));
        for none in [
            &[][..],
            &["a=b"],
            &["panda_session"],
            &["panda_session="],
            &["xpanda_session=x"],
            &["panda_session=x; panda_session=y"],
        ] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }

    #[test]
    fn accepts_only_names_of_this_machine() {
        let own = |host: &str| names_this_machine(&headers(&header::HOST, &[host]));
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "127.8.8.8",
            "[::1]:8080",
            "panda.localhost",
            "localhost.",
        ] {
            assert!(own(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.7",
            "[::2]",
            "",
            "a b",
            "0.0.0.0:80",
        ] {
            assert!(!own(host), "{host}");
        }
        assert!(names_this_machine(&HeaderMap::new()));
    }

    #[test]
    fn reads_ticket_from_query() {
        assert_eq!(ticket(Some("lang=en&ticket=abc")).as_deref(), Some("abc"));
        for none in [None, Some(""), Some("ticket="), Some("ticket=a%20b"), Some("ticket=%00"), Some("tickets=a")] {
            assert_eq!(ticket(none), None, "{none:?}");
        }
    }
}
