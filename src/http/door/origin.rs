//! From which pages a browser may change something. A page of anybody can send a POST to an address that its reader can reach, and the
//! browser adds what it knows of the reader: cookies, and a place in the company's network. Programs send no `Origin`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::http::error::ApiError;

/// What a browser says of where a request comes from; no page can set it. Only sent to https and loopback.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request of a page may not change anything; none when it may, or is of no page. `allowed` are the origins of
/// `PANDA_CORS_ORIGINS`.
pub fn refusal(method: &Method, headers: &HeaderMap, allowed: &[String]) -> Option<ApiError> {
    if method.is_safe() {
        return None;
    }
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("null"));
    let origin = text(header::ORIGIN);
    if origin.is_some_and(|origin| allowed.iter().any(|allowed| allowed == origin)) {
        return None;
    }
    let own = match (text(FETCH_SITE), origin) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        // Scheme aside: a proxy in front may speak https.
        (None, Some(origin)) => origin.split_once("://").is_some_and(|(_, host)| Some(host) == text(header::HOST)),
        (None, None) => true,
    };
    if own { None } else { Some(ApiError::OriginNotAllowed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let allowed = ["https://front.example".to_owned()];
        refusal(method, &headers.collect(), &allowed).is_none()
    }

    #[test]
    fn programs_and_pages_that_are_known_may_change_things() {
        assert!(may(&Method::POST, &[("host", "panda:8080")]));
        assert!(may(&Method::POST, &[("host", "panda:8080"), ("origin", "http://panda:8080")]));
        assert!(may(&Method::POST, &[("host", "panda:8080"), ("origin", "https://front.example")]));
        assert!(may(&Method::POST, &[("origin", "https://front.example"), ("sec-fetch-site", "cross-site")]));
        // Behind a proxy that does not hand on the name.
        let own = ("sec-fetch-site", "same-origin");
        assert!(may(&Method::DELETE, &[("host", "backend"), ("origin", "https://panda.example"), own]));
    }

    #[test]
    fn pages_of_others_may_look_where_cors_lets_them_and_change_nothing() {
        for (site, origin) in [("cross-site", "https://evil.example"), ("same-site", "https://evil.panda.example")] {
            let headers = [("host", "panda:8080"), ("origin", origin), ("sec-fetch-site", site)];
            assert!(!may(&Method::POST, &headers) && !may(&Method::DELETE, &headers) && may(&Method::GET, &headers));
        }
        for origin in
            ["https://evil.example", "null", "panda:8080", "http://panda:8080.evil.example", "http://panda", ""]
        {
            assert!(!may(&Method::POST, &[("host", "panda:8080"), ("origin", origin)]), "{origin}");
        }
        assert!(!may(&Method::POST, &[("origin", "http://panda")]), "no Host at all");
    }
}
