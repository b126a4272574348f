//! Allowed destinations of requests to addresses that users control: never services that only this machine or its cloud should reach.

use std::net::{IpAddr, Ipv4Addr};

use super::network::Network;

/// Networks refused unless allowed: [IANA's special-purpose addresses](https://www.iana.org/assignments/iana-ipv4-special-registry)
/// on which no service should run, and the clouds' metadata services. Private networks are not listed, because services run in them.
const REFUSED: [Network; 21] = [
    // "This network" (0.0.0.0 is this machine), loopback, link-local with most metadata services.
    Network::v4([0, 0, 0, 0], 8),
    Network::v4([127, 0, 0, 0], 8),
    Network::v4([169, 254, 0, 0], 16),
    // Protocol assignments (192.0.0.192 is Oracle's metadata service), Alibaba's, Azure's.
    Network::v4([192, 0, 0, 0], 24),
    Network::v4([100, 100, 100, 200], 32),
    Network::v4([168, 63, 129, 16], 32),
    // Benchmarks, multicast, reserved and broadcast.
    Network::v4([198, 18, 0, 0], 15),
    Network::v4([224, 0, 0, 0], 4),
    Network::v4([240, 0, 0, 0], 4),
    // Unspecified, loopback, and the rest of the deprecated form that embeds an IPv4 address.
    Network::v6(0, 0, 0, 96),
    // Two other forms of an IPv4 address that no request should use: translated (SIIT), and local translation.
    Network::siit(),
    Network::v6(0x64, 0xff9b, 0, 32),
    // Discard, Teredo, 6to4, unique local addresses of Amazon's and Google's metadata services.
    Network::v6(0x100, 0, 0, 64),
    Network::v6(0x2001, 0, 0, 32),
    Network::v6(0x2002, 0, 0, 16),
    Network::v6(0xfd00, 0xec2, 0, 32),
    Network::v6(0xfd20, 0xce, 0x254, 128),
    // Link-local, site-local (deprecated), multicast; reserved by the IETF.
    Network::v6(0xfe80, 0, 0, 10),
    Network::v6(0xfec0, 0, 0, 10),
    Network::v6(0xff00, 0, 0, 8),
    Network::v6(0xfe00, 0, 0, 9),
];

/// Allowed and refused destination networks.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    allowed: Vec<Network>,
    refused: Vec<Network>,
}

impl Destinations {
    /// Allows every address except those refused by default or by `refused`; `allowed` makes exceptions. Of all networks that contain an
    /// address, the smallest decides; of equally small ones, `allowed`.
    pub fn new(allowed: Vec<Network>, refused: Vec<Network>) -> Self {
        Self { allowed, refused }
    }

    /// Returns true if a request may go to `address`.
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = embedded_ipv4(address);
        let smallest = |networks: &[Network]| {
            networks.iter().filter(|network| network.holds(address)).map(|network| network.length()).max()
        };
        let refused = smallest(&REFUSED).max(smallest(&self.refused));
        refused.is_none() || smallest(&self.allowed) >= refused
    }
}

/// Returns the IPv4 address that an IPv6 address embeds: `::ffff:a.b.c.d`, and `64:ff9b::a.b.c.d` (NAT64), through which a machine with
/// IPv6 only reaches IPv4 services.
fn embedded_ipv4(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            _ => address.to_canonical(),
        },
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn allow(destinations: &Destinations, address: &str) -> bool {
        destinations.allow(address.parse().unwrap())
    }

    #[test]
    fn allows_public_and_private_networks() {
        for address in
            ["52.95.110.1", "10.0.3.7", "172.31.0.9", "192.168.1.1", "100.64.0.1", "2600:1f14::1", "fd12:3456::1"]
        {
            assert!(allow(&Destinations::default(), address), "{address}");
        }
        assert!(
            allow(&Destinations::default(), "64:ff9b::10.0.3.7") && allow(&Destinations::default(), "::ffff:10.0.3.7")
        );
    }

    #[test]
    fn refuses_this_machine_and_its_cloud_in_every_notation() {
        for address in [
            "0.0.0.0",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "169.254.170.2",
            "192.0.0.192",
            "100.100.100.200",
            "168.63.129.16",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:7f00:1::",
            "2001::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ] {
            assert!(!allow(&Destinations::default(), address), "{address}");
        }
    }

    #[test]
    fn smallest_network_decides() {
        let fenced = Destinations::new(networks(&["10.0.3.0/24"]), networks(&["0.0.0.0/0", "::/0"]));
        assert!(allow(&fenced, "10.0.3.7"));
        assert!(!allow(&fenced, "10.0.4.7") && !allow(&fenced, "52.95.110.1") && !allow(&fenced, "2600:1f14::1"));
        let wide = Destinations::new(networks(&["0.0.0.0/0"]), vec![]);
        assert!(!allow(&wide, "169.254.169.254"), "allowing everything does not include the metadata service");
        let named = Destinations::new(networks(&["127.0.0.0/8"]), vec![]);
        assert!(allow(&named, "127.0.0.1") && !allow(&named, "::1"));
    }
}
