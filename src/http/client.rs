//! The client of a request: the address of the connection, or the one that trusted proxies report.

mod hop;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::HeaderMap;

use crate::config::{ForwardedHeader, HttpConfig};
use crate::domain::network::Network;

/// Most hops that are followed. Only trusted proxies lengthen the chain, and no installation has so many of them.
const MAX_HOPS: usize = 32;

/// The address at the other end of a request's connection; in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The proxies that are believed, and the header in which they report clients.
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
    /// The key under which the client behind `peer` is limited: all addresses of one IPv6 network are one client.
    pub fn client(self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        whole(self.origin(peer, headers))
    }

    /// The address that a request on a connection from `peer` came from: the last one in the chain that no trusted proxy has. A client writes
    /// whatever it likes in front of it, so nothing to the left of an untrusted or unreadable hop counts.
    ///
    /// Where a proxy reports no address (`unknown`, `_hidden`, an error of its own), the proxy itself stands for the client: such requests share
    /// its limit, and neither escape it nor use up that of clients who have an address.
    pub fn origin(self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines = headers.get_all(self.header.name()).iter().rev();
        // Split at every comma, within quotes too: no address has one, and a client's open quote must not swallow what a proxy adds.
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
}

/// A client has all addresses of its IPv6 network. IPv4 clients that come through a translator stay apart: they share the translator's network.
fn whole(address: IpAddr) -> IpAddr {
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

    fn seen_in(header: ForwardedHeader, peer: &str, lines: &[&[u8]], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header.name(), axum::http::HeaderValue::from_bytes(line).unwrap());
        }
        let networks: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        Proxies { networks: &networks, header }.client(peer.parse().unwrap(), &headers).to_string()
    }

    fn seen(peer: &str, lines: &[&str], trusted: &[&str]) -> String {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        seen_in(ForwardedHeader::XForwardedFor, peer, &lines, trusted)
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(seen("10.0.0.7", &["1.2.3.4"], &[]), "10.0.0.7");
        assert_eq!(seen("10.0.0.7", &["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.7", &["6.6.6.6, 1.2.3.4"], &["10.0.0.7"]), "1.2.3.4", "the client wrote the first");
        assert_eq!(seen("10.0.0.7", &["6.6.6.6", "1.2.3.4, 10.0.0.8"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.7", &[], &["10.0.0.0/8"]), "10.0.0.7");
        assert_eq!(seen("::ffff:10.0.0.7", &["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
    }

    #[test]
    fn every_notation_of_an_address_is_read() {
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
            assert_eq!(seen("10.0.0.7", &[hop], &["10.0.0.0/8"]), client, "{hop}");
        }
        assert_eq!(seen("10.0.0.7", &["198.51.100.1", "", ","], &["10.0.0.0/8"]), "198.51.100.1", "empty lines");
    }

    #[test]
    fn a_hop_without_an_address_is_its_proxy_and_nothing_before_it_counts() {
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
            assert_eq!(seen("10.0.0.7", &[&format!("203.0.113.9, {hop}")], &["10.0.0.0/8"]), "10.0.0.7", "{hop}");
            assert_eq!(
                seen("10.0.0.7", &["203.0.113.9", hop], &["10.0.0.0/8"]),
                "10.0.0.7",
                "{hop}, a line of its own"
            );
        }
        let bytes: &[&[u8]] = &[b"203.0.113.9", b"\xff\xfe"];
        assert_eq!(seen_in(ForwardedHeader::XForwardedFor, "10.0.0.7", bytes, &["10.0.0.0/8"]), "10.0.0.7");
    }

    #[test]
    fn what_a_client_writes_never_changes_what_a_proxy_adds() {
        for garbage in ["unknown", "\"", "6.6.6.6, \"[", "10.0.0.9", &"10.0.0.9,".repeat(2_000), "\\\"", "for=\"_x;"] {
            assert_eq!(
                seen("10.0.0.7", &[&format!("{garbage}, 198.51.100.1")], &["10.0.0.0/8"]),
                "198.51.100.1",
                "{garbage}"
            );
        }
    }

    #[test]
    fn a_chain_is_followed_only_so_far() {
        let chain = format!("6.6.6.6{}", ", 10.0.0.9".repeat(3_000));
        assert_eq!(seen("10.0.0.7", &[&chain], &["10.0.0.0/8"]), "10.0.0.9");
    }

    #[test]
    fn the_standard_header_is_read_where_proxies_write_it() {
        let seen = |lines: &[&str]| {
            let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            seen_in(ForwardedHeader::Forwarded, "10.0.0.7", &lines, &["10.0.0.0/8"])
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
            assert_eq!(seen(&[line]), client, "{line}");
        }
        assert_eq!(seen(&["for=6.6.6.6", "for=198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn the_addresses_of_one_network_are_one_client() {
        assert_eq!(seen("2001:db8:1:2:3:4:5:6", &[], &[]), "2001:db8:1:2::");
        assert_eq!(seen("::ffff:1.2.3.4", &[], &[]), "1.2.3.4");
        assert_eq!(seen("64:ff9b::102:304", &[], &[]), "1.2.3.4");
        assert_eq!(seen("::ffff:0:1.2.3.4", &[], &[]), "1.2.3.4");
    }
}
