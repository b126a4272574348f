//! Parses one hop of a chain of proxies, in the notations of `X-Forwarded-For` and of `Forwarded` (RFC 7239).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::ForwardedHeader;

/// Parses the address in one element of the header. Returns `None` if there is no address, or more than one.
pub(super) fn address(header: ForwardedHeader, element: &[u8]) -> Option<IpAddr> {
    let element = std::str::from_utf8(element).ok()?;
    let node = match header {
        ForwardedHeader::XForwardedFor => element,
        ForwardedHeader::Forwarded => parameter(element, "for")?,
    };
    parse(unquoted(node)?)
}

/// Returns the host in one element of `X-Forwarded-Host` or `Forwarded`.
pub(super) fn host(header: ForwardedHeader, element: &str) -> Option<&str> {
    let host = match header {
        ForwardedHeader::XForwardedFor => element,
        ForwardedHeader::Forwarded => parameter(element, "host")?,
    };
    unquoted(host.trim()).filter(|host| !host.is_empty())
}

/// Returns the scheme in one element of `X-Forwarded-Proto` or `Forwarded`.
pub(super) fn scheme(header: ForwardedHeader, element: &str) -> Option<&'static str> {
    let scheme = match header {
        ForwardedHeader::XForwardedFor => element,
        ForwardedHeader::Forwarded => parameter(element, "proto")?,
    };
    let scheme = unquoted(scheme.trim())?;
    ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known))
}

/// Returns the value of a parameter of the element, unless there are several.
fn parameter<'a>(element: &'a str, wanted: &str) -> Option<&'a str> {
    let mut pairs = element.split(';').filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case(wanted).then_some(value)
    });
    let node = pairs.next()?;
    pairs.next().is_none().then_some(node)
}

/// Strips the quotes of a quoted string. Escapes are rejected, since no address needs them.
fn unquoted(text: &str) -> Option<&str> {
    let inner = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => text,
    };
    (!inner.contains(['"', '\\'])).then_some(inner)
}

/// Parses an address with or without brackets, zone and port. The zone names an interface of the proxy and is ignored.
fn parse(text: &str) -> Option<IpAddr> {
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
            return None;
        }
        IpAddr::V6(v6(address)?)
    } else if let Ok(address) = text.parse::<Ipv4Addr>() {
        IpAddr::V4(address)
    } else if let Some(address) = v6(text) {
        IpAddr::V6(address)
    } else {
        let (address, port) = text.split_once(':')?;
        if !is_port(port) {
            return None;
        }
        IpAddr::V4(address.parse().ok()?)
    };
    Some(address.to_canonical())
}

fn v6(text: &str) -> Option<Ipv6Addr> {
    let address = match text.split_once('%') {
        Some((address, zone)) if !zone.is_empty() => address,
        Some(_) => return None,
        None => text,
    };
    address.parse().ok()
}

/// Accepts a port number, or an obfuscated port (RFC 7239, 6.2).
fn is_port(text: &str) -> bool {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    digits || text.strip_prefix('_').is_some_and(|name| (1..=64).contains(&name.len()) && name.bytes().all(word))
}
