//! Validates the host that a request names. A proxy and a server that interpret the host differently can be exploited, so an ambiguous request is
//! refused (RFC 9112, section 3.2).

use std::net::Ipv6Addr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Version, header};

use crate::domain::message::Message;
use crate::http::middleware::error::AdmissionError;

/// Longest host name, in bytes (RFC 1035).
const MAX_NAME: usize = 255;

/// The error for a missing, repeated, invalid or contradictory host; none when the host is valid. An HTTP/1.0 request may omit it, as old health
/// checks do.
pub fn refusal(request: &Request) -> Option<AdmissionError> {
    check(request.version(), request.uri().authority(), request.uri().scheme_str(), request.headers())
        .err()
        .map(|key| AdmissionError::BadHost(Message::new(key)))
}

/// Returns the key of the reason for which a host is refused.
fn check(
    version: Version,
    target: Option<&Authority>,
    scheme: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), &'static str> {
    let target = target.map(|target| parse(target.as_str()).ok_or("BAD_HOST.target_without_host")).transpose()?;
    let mut lines = headers.get_all(header::HOST).iter();
    let (line, second) = (lines.next(), lines.next());
    if second.is_some() {
        return Err("BAD_HOST.two_headers");
    }
    let Some(line) = line else {
        // HTTP/2 and later carry it in the target.
        let may_be_absent = version < Version::HTTP_11 || version > Version::HTTP_11 && target.is_some();
        return if may_be_absent { Ok(()) } else { Err("BAD_HOST.no_header") };
    };
    let host = line.to_str().ok().and_then(parse).ok_or("BAD_HOST.invalid_header")?;
    match target {
        Some(target) if !host.matches(&target, scheme) => Err("BAD_HOST.differs"),
        _ => Ok(()),
    }
}

/// A host with an optional port.
#[derive(Debug, PartialEq)]
struct HostPort<'a> {
    host: &'a str,
    port: Option<u16>,
}

impl HostPort<'_> {
    fn matches(&self, other: &Self, scheme: Option<&str>) -> bool {
        let default = match scheme {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        };
        self.host.eq_ignore_ascii_case(other.host) && self.port.or(default) == other.port.or(default)
    }
}

/// Parses `host[:port]`. Stricter than RFC 3986, which permits characters that no host name has: a comma could merge two headers into one.
fn parse(text: &str) -> Option<HostPort<'_>> {
    let end = text.find(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match text[end..].split_once(':') {
        Some((name, port)) => (&text[..end + name.len()], port),
        None => (text, ""),
    };
    let port = match port {
        "" => None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    is_host.then_some(HostPort { host, port })
}

fn is_name(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (1..=MAX_NAME).contains(&host.len()) && host.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, Uri};

    fn checked(version: Version, target: &str, hosts: &[&[u8]]) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_bytes(host).unwrap());
        }
        let target: Uri = target.parse().unwrap();
        check(version, target.authority(), target.scheme_str(), &headers)
    }

    #[test]
    fn accepts_one_valid_host() {
        for host in [
            "panda",
            "PANDA.example:8080",
            "panda.example.",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[2001:db8::1]",
            "panda:",
            "a_b.svc-1",
            "10.0.0.7:65535",
        ] {
            assert_eq!(checked(Version::HTTP_11, "/x", &[host.as_bytes()]), Ok(()), "{host}");
        }
        for host in [
            &b""[..],
            b"a b",
            b"a/b",
            b"a,b",
            b"a, b",
            b"user@panda",
            b"panda:x",
            b"panda:80:80",
            b"panda:65536",
            b"panda:-1",
            b"panda:+1",
            b"[::1",
            b"::1",
            b"[::1]x",
            b"[::1]:80:80",
            b"[127.0.0.1]",
            b"[fe80::1%eth0]",
            b"http://panda",
            b"p\xc3\xa4nda",
            b"panda?x",
            b"panda#x",
            b"a\\b",
            b":80",
            b"a%00b",
            b"a]b",
            b"]",
            b"[]",
        ] {
            assert!(checked(Version::HTTP_11, "/x", &[host]).is_err(), "{}", String::from_utf8_lossy(host));
        }
        assert!(checked(Version::HTTP_11, "/x", &["a".repeat(256).as_bytes()]).is_err());
    }

    #[test]
    fn host_is_optional_in_http_1_0_and_never_repeated() {
        assert!(checked(Version::HTTP_11, "/x", &[]).is_err());
        assert_eq!(checked(Version::HTTP_10, "/x", &[]), Ok(()));
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert!(checked(version, "/x", &[b"panda", b"panda"]).is_err(), "{version:?}");
            assert!(checked(version, "/x", &[b"panda", b"evil"]).is_err(), "{version:?}");
            assert!(checked(version, "/x", &[b"a b"]).is_err(), "{version:?}");
        }
        assert_eq!(checked(Version::HTTP_2, "https://panda/x", &[]), Ok(()));
        assert!(checked(Version::HTTP_2, "/x", &[]).is_err());
    }

    #[test]
    fn target_and_host_must_agree() {
        for (target, host) in [
            ("http://panda/x", "panda"),
            ("http://panda/x", "PANDA:80"),
            ("http://panda:80/x", "panda"),
            ("https://panda/x", "panda:443"),
            ("http://panda:8080/x", "panda:8080"),
            ("http://[::1]:8080/x", "[::1]:8080"),
        ] {
            for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
                assert_eq!(checked(version, target, &[host.as_bytes()]), Ok(()), "{target} {host}");
            }
        }
        for (target, host) in [
            ("http://panda/x", "evil"),
            ("http://panda/x", "panda:8080"),
            ("http://panda:8080/x", "panda"),
            ("https://panda/x", "panda:80"),
            ("http://user@panda/x", "panda"),
            ("http://panda/x", "panda.evil"),
        ] {
            for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
                assert!(checked(version, target, &[host.as_bytes()]).is_err(), "{target} {host}");
            }
        }
    }
}
