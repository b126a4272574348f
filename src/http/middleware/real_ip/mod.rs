//! The client address of a request: the peer of the connection, or the address that trusted proxies report.

mod hop;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};

use crate::config::{ForwardedHeader, HttpConfig};
use crate::domain::network::Network;
use crate::http::ApiState;

/// Most hops followed in a chain of proxies. Only trusted proxies lengthen the chain, and no installation has that many.
const MAX_HOPS: usize = 32;

/// The address of the connection's peer, stored in the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The trusted proxies, and the header in which they report client addresses.
#[derive(Clone, Copy, Debug)]
pub struct Proxies<'a> {
    networks: &'a [Network],
    header: ForwardedHeader,
}

impl<'a> From<&'a HttpConfig> for Proxies<'a> {
    fn from(config: &'a HttpConfig) -> Self {
        Self { networks: &config.trusted_proxies, header: config.forwarded_header }
    }
}

impl Proxies<'_> {
    /// Returns the key for limits per client. All addresses of an IPv6 /64 network share a key.
    pub fn client(self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        client_key(self.origin(peer, headers))
    }

    /// Returns the address from which a request on a connection from `peer` was sent: the last one in the chain that is not a trusted proxy. A client
    /// can put anything in front of it, so everything to the left of an untrusted or unreadable hop is ignored.
    ///
    /// If a proxy reports no address (`unknown`, `_hidden`, an error), the proxy's address stands for the client: such requests share the
    /// proxy's limit. They neither escape it nor use up the limit of clients with an address.
    pub fn origin(self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines = headers.get_all(self.header.name()).iter().rev();
        // Split at every comma, within quotes too: no address contains one, and an unbalanced quote from a client must not swallow the hops that
        // proxies add.
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
        for hop in hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()).take(MAX_HOPS) {
            if !self.networks.iter().any(|network| network.holds(client)) {
                break;
            }
            let Some(address) = hop::address(self.header, hop) else { break };
            client = address;
        }
        client
    }

    /// Returns the hosts that trusted proxies report for a request from `peer`, the outermost first; none from another peer. Unlike an address, a host
    /// is only compared with the origin of a page, which can set neither header.
    pub fn hosts(self, peer: IpAddr, headers: &HeaderMap) -> Vec<&str> {
        let hops = self.reported(peer, headers, "x-forwarded-host");
        hops.filter_map(|hop| hop::host(self.header, hop)).collect()
    }

    /// Returns the scheme that the outermost trusted proxy reports for a request from `peer`.
    pub fn scheme(self, peer: IpAddr, headers: &HeaderMap) -> Option<&'static str> {
        self.reported(peer, headers, "x-forwarded-proto").find_map(|hop| hop::scheme(self.header, hop))
    }

    /// The elements of a header that trusted proxies add, the outermost first: `name`, or `Forwarded`.
    fn reported<'h>(self, peer: IpAddr, headers: &'h HeaderMap, name: &'static str) -> impl Iterator<Item = &'h str> {
        let is_trusted = self.networks.iter().any(|network| network.holds(peer.to_canonical()));
        let name = match self.header {
            ForwardedHeader::XForwardedFor => HeaderName::from_static(name),
            ForwardedHeader::Forwarded => HeaderName::from_static(self.header.name()),
        };
        let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).take(if is_trusted { MAX_HOPS } else { 0 })
    }
}

/// Address of the client, cut to the prefix that limits apply to.
#[derive(Debug)]
pub struct Client(pub IpAddr);

impl FromRequestParts<ApiState> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        Ok(Self(Proxies::from(&*state.config).client(peer(parts), &parts.headers)))
    }
}

/// Full address from which a request came, as the audit records it.
#[derive(Debug)]
pub struct Origin(pub IpAddr);

impl FromRequestParts<ApiState> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        Ok(Self(Proxies::from(&*state.config).origin(peer(parts), &parts.headers)))
    }
}

/// Only a router that is called without a connection has no peer.
pub fn peer(parts: &Parts) -> IpAddr {
    parts.extensions.get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(peer)| *peer)
}

/// Masks an IPv6 address to its /64 network, all of which belongs to the client. IPv4 clients behind a translator (NAT64) keep separate keys, though
/// they share the translator's network.
pub(super) fn client_key(address: IpAddr) -> IpAddr {
    let IpAddr::V6(address) = address.to_canonical() else { return address.to_canonical() };
    match address.segments() {
        // 64:ff9b::/96 (RFC 6052) and ::ffff:0:0:0/96 (RFC 7915).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_in(header: ForwardedHeader, peer: &str, lines: &[&[u8]], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header.name(), axum::http::HeaderValue::from_bytes(line).unwrap());
        }
        let networks: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        Proxies { networks: &networks, header }.client(peer.parse().unwrap(), &headers).to_string()
    }

    fn client_of(peer: &str, lines: &[&str], trusted: &[&str]) -> String {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        client_in(ForwardedHeader::XForwardedFor, peer, &lines, trusted)
    }

    #[test]
    fn ignores_headers_of_untrusted_proxies() {
        assert_eq!(client_of("10.0.0.7", &["1.2.3.4"], &[]), "10.0.0.7");
        assert_eq!(client_of("10.0.0.7", &["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(
            client_of("10.0.0.7", &["6.6.6.6, 1.2.3.4"], &["10.0.0.7"]),
            "1.2.3.4",
            "the client wrote the first"
        );
        assert_eq!(client_of("10.0.0.7", &["6.6.6.6", "1.2.3.4, 10.0.0.8"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(client_of("10.0.0.7", &[], &["10.0.0.0/8"]), "10.0.0.7");
        assert_eq!(client_of("::ffff:10.0.0.7", &["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
    }

    #[test]
    fn parses_every_notation_of_an_address() {
        for (hop, client) in [
            ("198.51.100.1:40001", "198.51.100.1"),
            ("\"198.51.100.1:40001\"", "198.51.100.1"),
            ("  198.51.100.1\t", "198.51.100.1"),
            ("[2001:db8::1]:443", "2001:db8::"),
            ("\"[2001:db8::1]:443\"", "2001:db8::"),
            ("[2001:db8::1]", "2001:db8::"),
            ("2001:db8::1", "2001:db8::"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::"),
            ("fe80::1%eth0", "fe80::"),
            ("[fe80::1%25eth0]:80", "fe80::"),
            ("::ffff:198.51.100.1", "198.51.100.1"),
            ("[::ffff:198.51.100.1]:40001", "198.51.100.1"),
            ("198.51.100.1, ", "198.51.100.1"),
            ("198.51.100.1,,\t,", "198.51.100.1"),
        ] {
            assert_eq!(client_of("10.0.0.7", &[hop], &["10.0.0.0/8"]), client, "{hop}");
        }
        assert_eq!(client_of("10.0.0.7", &["198.51.100.1", "", ","], &["10.0.0.0/8"]), "198.51.100.1", "empty lines");
    }

    #[test]
    fn hop_without_address_counts_as_its_proxy() {
        for hop in [
            "unknown",
            "_hidden",
            "_hidden:40001",
            "nonsense",
            "198.51.100.1:",
            "198.51.100.1:x",
            "198.51.100.1:400010",
            "198.51.100.1.7",
            "198.51.100.01",
            "198.51.100.1 203.0.113.9",
            "[2001:db8::1",
            "2001:db8::1]",
            "[198.51.100.1]:80",
            "[]:80",
            "fe80::1%",
            "198.51.100.1%eth0",
            "\"198.51.100.1",
            "198.51.100.1\"",
            "for=198.51.100.1",
            "http://198.51.100.1",
        ] {
            assert_eq!(client_of("10.0.0.7", &[&format!("203.0.113.9, {hop}")], &["10.0.0.0/8"]), "10.0.0.7", "{hop}");
            assert_eq!(
                client_of("10.0.0.7", &["203.0.113.9", hop], &["10.0.0.0/8"]),
                "10.0.0.7",
                "{hop}, in a separate line"
            );
        }
        let bytes: &[&[u8]] = &[b"203.0.113.9", b"\xff\xfe"];
        assert_eq!(client_in(ForwardedHeader::XForwardedFor, "10.0.0.7", bytes, &["10.0.0.0/8"]), "10.0.0.7");
    }

    #[test]
    fn garbage_from_client_does_not_hide_hops_of_proxies() {
        for garbage in ["unknown", "\"", "6.6.6.6, \"[", "10.0.0.9", &"10.0.0.9,".repeat(2_000), "\\\"", "for=\"_x;"] {
            assert_eq!(
                client_of("10.0.0.7", &[&format!("{garbage}, 198.51.100.1")], &["10.0.0.0/8"]),
                "198.51.100.1",
                "{garbage}"
            );
        }
    }

    #[test]
    fn follows_at_most_32_hops() {
        let chain = format!("6.6.6.6{}", ", 10.0.0.9".repeat(3_000));
        assert_eq!(client_of("10.0.0.7", &[&chain], &["10.0.0.0/8"]), "10.0.0.9");
    }

    #[test]
    fn parses_forwarded_header_of_rfc_7239() {
        let client_of = |lines: &[&str]| {
            let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            client_in(ForwardedHeader::Forwarded, "10.0.0.7", &lines, &["10.0.0.0/8"])
        };
        for (line, client) in [
            ("for=198.51.100.1", "198.51.100.1"),
            ("For=\"198.51.100.1:40001\"; proto=https", "198.51.100.1"),
            ("proto=https;host=panda.example ;FOR=\"[2001:db8::1]:443\"", "2001:db8::"),
            ("for=6.6.6.6, for=198.51.100.1;by=10.0.0.7", "198.51.100.1"),
            ("for=6.6.6.6, for=198.51.100.1, for=10.0.0.8", "198.51.100.1"),
            ("for=\"x, for=198.51.100.1", "198.51.100.1"),
            ("for=6.6.6.6, for=unknown", "10.0.0.7"),
            ("for=6.6.6.6, for=_gazonk", "10.0.0.7"),
            ("for=6.6.6.6, for=\"_gazonk:_port\"", "10.0.0.7"),
            ("for=6.6.6.6, proto=https", "10.0.0.7"),
            ("for=6.6.6.6;for=198.51.100.1", "10.0.0.7"),
            ("for=6.6.6.6, 198.51.100.1", "10.0.0.7"),
        ] {
            assert_eq!(client_of(&[line]), client, "{line}");
        }
        assert_eq!(client_of(&["for=6.6.6.6", "for=198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn hosts_come_from_trusted_proxies_only() {
        let hosts = |header: ForwardedHeader, peer: &str, name: &'static str, lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(name, axum::http::HeaderValue::from_static(line));
            }
            let networks = ["10.0.0.0/8".parse().unwrap()];
            let proxies = Proxies { networks: &networks, header };
            proxies.hosts(peer.parse().unwrap(), &headers).join(" ")
        };
        let x = ForwardedHeader::XForwardedFor;
        assert_eq!(
            hosts(x, "10.0.0.7", "x-forwarded-host", &["a.example, b.example:8080", "c"]),
            "a.example b.example:8080 c"
        );
        assert_eq!(hosts(x, "::ffff:10.0.0.7", "x-forwarded-host", &["a"]), "a");
        assert_eq!(hosts(x, "192.0.2.1", "x-forwarded-host", &["a"]), "", "a client's own header");
        assert_eq!(hosts(x, "10.0.0.7", "forwarded", &["host=a"]), "", "the other header");
        let rfc = ForwardedHeader::Forwarded;
        assert_eq!(hosts(rfc, "10.0.0.7", "x-forwarded-host", &["a"]), "", "the other header");
        let line = "for=192.0.2.1;Host=\"a.example:8080\";proto=https, for=x; host=b.example, for=y, host=\"c";
        assert_eq!(hosts(rfc, "10.0.0.7", "forwarded", &[line]), "a.example:8080 b.example");
        let many = "a,".repeat(3_000);
        assert_eq!(hosts(x, "10.0.0.7", "x-forwarded-host", &[&*many.leak()]).len(), 2 * MAX_HOPS - 1);
    }

    #[test]
    fn scheme_comes_from_trusted_proxies_only() {
        let scheme = |header: ForwardedHeader, peer: &str, name: &'static str, line: &'static str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), line.parse().unwrap())]);
            let networks = ["10.0.0.0/8".parse().unwrap()];
            Proxies { networks: &networks, header }.scheme(peer.parse().unwrap(), &headers)
        };
        let x = ForwardedHeader::XForwardedFor;
        assert_eq!(scheme(x, "10.0.0.7", "x-forwarded-proto", "HTTPS, http"), Some("https"));
        assert_eq!(scheme(x, "10.0.0.7", "x-forwarded-proto", "javascript"), None);
        assert_eq!(scheme(x, "192.0.2.1", "x-forwarded-proto", "https"), None, "a client's own header");
        let rfc = ForwardedHeader::Forwarded;
        assert_eq!(scheme(rfc, "10.0.0.7", "forwarded", "for=192.0.2.1;proto=\"https\""), Some("https"));
    }

    #[test]
    fn addresses_of_one_network_share_a_key() {
        assert_eq!(client_of("2001:db8:1:2:3:4:5:6", &[], &[]), "2001:db8:1:2::");
        assert_eq!(client_of("::ffff:1.2.3.4", &[], &[]), "1.2.3.4");
        assert_eq!(client_of("64:ff9b::102:304", &[], &[]), "1.2.3.4");
        assert_eq!(client_of("::ffff:0:1.2.3.4", &[], &[]), "1.2.3.4");
    }
}
