//! IP networks, for lists of allowed and refused addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// IP network such as 10.0.0.0/8, or a single address. IPv4 is stored in its IPv6-mapped form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    bits: u128,
    length: u32,
}

impl Network {
    /// Creates an IPv4 network with a prefix of `length` bits, for the program's own tables.
    pub(crate) const fn v4(address: [u8; 4], length: u32) -> Self {
        let [a, b, c, d] = address;
        Self { bits: Ipv4Addr::new(a, b, c, d).to_ipv6_mapped().to_bits(), length: length + 96 }
    }

    /// Creates an IPv6 network from the address's first two groups and its last group.
    pub(crate) const fn v6(first: u16, second: u16, last: u16, length: u32) -> Self {
        Self { bits: Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, last).to_bits(), length }
    }

    /// Returns `::ffff:0:0:0/96`: IPv4 addresses in the form that translators use among themselves (SIIT).
    pub(crate) const fn siit() -> Self {
        Self { bits: Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0).to_bits(), length: 96 }
    }

    /// Returns the prefix length in bits, of 128. A longer prefix is a smaller network.
    pub(crate) const fn length(self) -> u32 {
        self.length
    }

    /// Returns true if the network contains the address.
    pub fn holds(self, address: IpAddr) -> bool {
        let differing = self.bits ^ bits(address);
        self.length == 0 || differing >> (128 - self.length) == 0
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "give an address such as 10.0.0.7, or a network such as 10.0.0.0/8".to_owned();
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let (most, before) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length: u32 = length.map_or(Ok(most), |length| length.parse().map_err(|_| wrong()))?;
        if length > most {
            return Err(wrong());
        }
        Ok(Self { bits: bits(address), length: length + before })
    }
}

/// Returns the bits of an address, IPv4 in its IPv6-mapped form.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_an_invalid_network_with_the_remedy() {
        for text in ["", "10.0.0.0/33", "example.com", "10.0.0.0/8/8", "::/129"] {
            assert!(text.parse::<Network>().unwrap_err().contains("10.0.0.0/8"), "{text}");
        }
        assert!("::/0".parse::<Network>().unwrap().holds("1.2.3.4".parse().unwrap()));
    }
}
