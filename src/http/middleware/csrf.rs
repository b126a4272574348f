//! Protection against cross-site request forgery. Any web page can make its reader's browser send a POST to an address that the reader can reach,
//! with the reader's cookies and from inside the company's network. Programs other than browsers send no `Origin`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::http::middleware::error::AdmissionError;

/// Default ports, which a browser leaves out of `Origin`, and a proxy may add to the host.
const DEFAULT_PORTS: [(&str, &str); 2] = [("http", ":80"), ("https", ":443")];

/// Header in which a browser reports the relation between page and server. No page can set it; browsers send it only to https and loopback.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The page that sent a request, as far as its browser reports it. Stored in the extensions of each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageOrigin {
    /// A page of this server. Only this proves that a request with a cookie is meant: `PANDA_CORS_ORIGINS` are for pages that send a token.
    Own,
    /// A page of another origin.
    Foreign,
    /// A program, or a browser that reports nothing: it opens an address, or follows a link.
    #[default]
    Unknown,
}

impl PageOrigin {
    /// Reads the headers of a request. `forwarded` are the hosts that trusted proxies report.
    pub fn of(headers: &HeaderMap, forwarded: &[&str]) -> Self {
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("null"));
        let is_own = |origin| text(header::HOST).iter().chain(forwarded).any(|host| is_at(origin, host));
        match (text(FETCH_SITE), text(header::ORIGIN)) {
            (Some("same-origin"), _) => Self::Own,
            (None, Some(origin)) if is_own(origin) => Self::Own,
            (_, Some(_)) => Self::Foreign,
            (_, None) => Self::Unknown,
        }
    }
}

/// The error for a changing request from a foreign page; none for reads, programs, own pages and the origins `allowed` in `PANDA_CORS_ORIGINS`.
/// `forwarded` are the hosts that trusted proxies report: a proxy may rewrite `Host` to the server's internal name. No page can set them.
pub fn refusal(method: &Method, headers: &HeaderMap, allowed: &[String], forwarded: &[&str]) -> Option<AdmissionError> {
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
        (None, Some(origin)) => text(header::HOST).iter().chain(forwarded).any(|host| is_at(origin, host)),
        (None, None) => true,
    };
    if own { None } else { Some(AdmissionError::OriginNotAllowed) }
}

/// True when `origin` has this host. The scheme is ignored: a proxy may terminate TLS.
fn is_at(origin: &str, host: &str) -> bool {
    let Some((scheme, name)) = origin.split_once("://") else { return false };
    let port = DEFAULT_PORTS.iter().find(|(known, _)| *known == scheme).map_or("", |(_, port)| port);
    let host = host.strip_suffix(port).unwrap_or(host);
    !host.is_empty() && name.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_behind(forwarded: &[&str], method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let allowed = ["https://front.example".to_owned()];
        refusal(method, &headers.collect(), &allowed, forwarded).is_none()
    }

    fn may(method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        may_behind(&[], method, headers)
    }

    #[test]
    fn allows_own_page_by_the_host_of_a_trusted_proxy() {
        for (origin, forwarded) in [
            ("http://panda.example", "panda.example"),
            ("https://panda.example", "panda.example:443"),
            ("http://panda.example", "Panda.Example:80"),
            ("https://panda.example:8443", "panda.example:8443"),
            ("http://[2001:db8::1]", "[2001:db8::1]"),
        ] {
            let headers = [("host", "backend:8080"), ("origin", origin)];
            assert!(may_behind(&[forwarded], &Method::POST, &headers), "{origin} {forwarded}");
            assert!(may_behind(&["outer.example", forwarded], &Method::POST, &headers), "{origin} {forwarded}");
            assert!(!may(&Method::POST, &headers), "without a proxy: {origin}");
        }
        for forwarded in ["", "panda.example.evil.example", "evil.example:443", ":443", "example"] {
            let headers = [("host", "backend:8080"), ("origin", "https://panda.example")];
            assert!(!may_behind(&[forwarded], &Method::POST, &headers), "{forwarded}");
        }
        let evil = [("host", "backend"), ("origin", "https://panda.example"), ("sec-fetch-site", "cross-site")];
        assert!(!may_behind(&["panda.example"], &Method::POST, &evil), "the browser knows better");
    }

    #[test]
    fn only_own_pages_prove_their_origin() {
        let of = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            PageOrigin::of(&headers.collect(), &["panda.example"])
        };
        let (host, own, foreign) =
            (("host", "backend:8080"), ("origin", "https://panda.example"), ("origin", "https://front.example"));
        let site = |site: &'static str| ("sec-fetch-site", site);
        assert_eq!(of(&[host, own]), PageOrigin::Own);
        assert_eq!(of(&[host, ("origin", "http://backend:8080")]), PageOrigin::Own);
        assert_eq!(of(&[host, site("same-origin")]), PageOrigin::Own);
        assert_eq!(of(&[host, foreign]), PageOrigin::Foreign);
        assert_eq!(of(&[host, ("origin", "null")]), PageOrigin::Foreign);
        assert_eq!(of(&[host, ("origin", "")]), PageOrigin::Foreign);
        assert_eq!(of(&[host, own, site("cross-site")]), PageOrigin::Foreign, "the browser knows better");
        assert_eq!(of(&[host, own, site("none")]), PageOrigin::Foreign);
        for unknown in
            [&[host][..], &[host, site("none")], &[host, site("cross-site")], &[host, site("same-site")], &[]]
        {
            assert_eq!(of(unknown), PageOrigin::Unknown, "{unknown:?}");
        }
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
