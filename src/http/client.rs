//! Whose request it is: the address of the connection, or what a proxy that is trusted says.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;

use crate::domain::network::Network;

/// The address at the other end of a request's connection; in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The client behind a connection from `peer`, all of whose addresses are one.
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    whole(origin(peer, headers, trusted))
}

/// Where a request on a connection from `peer` came from: the last address in `X-Forwarded-For` that no trusted proxy has. Whatever stands
/// before that was written by the client itself.
pub fn origin(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.holds(address));
    let mut client = peer;
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')).map(str::trim);
    while is_trusted(client) {
        let Some(hop) = hops.next().and_then(|hop| hop.parse().ok()) else { break };
        client = hop;
    }
    client.to_canonical()
}

/// A client has all addresses of its IPv6 network.
fn whole(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(seen("10.0.0.7", &["1.2.3.4"], &[]), "10.0.0.7");
        assert_eq!(seen("10.0.0.7", &["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.7", &["6.6.6.6, 1.2.3.4"], &["10.0.0.7"]), "1.2.3.4", "the client wrote the first");
        assert_eq!(seen("10.0.0.7", &["6.6.6.6", "1.2.3.4, 10.0.0.8"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.7", &[], &["10.0.0.0/8"]), "10.0.0.7");
        assert_eq!(seen("10.0.0.7", &["nonsense"], &["10.0.0.0/8"]), "10.0.0.7");
        assert_eq!(seen("::ffff:10.0.0.7", &["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
    }

    #[test]
    fn the_addresses_of_one_network_are_one_client() {
        assert_eq!(seen("2001:db8:1:2:3:4:5:6", &[], &[]), "2001:db8:1:2::");
        assert_eq!(seen("::ffff:1.2.3.4", &[], &[]), "1.2.3.4");
    }
}
