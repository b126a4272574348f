//! Protection against cross-site request forgery. Any web page can make its reader's browser send a POST to an address that the reader can reach,
//! with the reader's cookies and from inside the company's network. Programs other than browsers send no `Origin`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::http::middleware::error::AdmissionError;

/// Header in which a browser reports the relation between page and server. No page can set it; browsers send it only to https and loopback.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The error for a changing request from a foreign page; none for reads, programs, own pages and the origins `allowed` in `PANDA_CORS_ORIGINS`.
pub fn refusal(method: &Method, headers: &HeaderMap, allowed: &[String]) -> Option<AdmissionError> {
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
        // The scheme is ignored: a proxy may terminate TLS.
        (None, Some(origin)) => origin.split_once("://").is_some_and(|(_, host)| Some(host) == text(header::HOST)),
        (None, None) => true,
    };
    if own { None } else { Some(AdmissionError::OriginNotAllowed) }
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
    fn allows_programs_and_known_pages() {
        assert!(may(&Method::POST, &[("host", "panda:8080")]));
        assert!(may(&Method::POST, &[("host", "panda:8080"), ("origin", "http://panda:8080")]));
        assert!(may(&Method::POST, &[("host", "panda:8080"), ("origin", "https://front.example")]));
        assert!(may(&Method::POST, &[("origin", "https://front.example"), ("sec-fetch-site", "cross-site")]));
        // A proxy that does not forward the Host header.
        let own = ("sec-fetch-site", "same-origin");
        assert!(may(&Method::DELETE, &[("host", "backend"), ("origin", "https://panda.example"), own]));
    }

    #[test]
    fn refuses_changes_from_foreign_pages() {
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
