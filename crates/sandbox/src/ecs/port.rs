//! Ports of containers on the host's network.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use rand::RngExt as _;
use tokio::net::TcpListener;

/// Attempts to find a free port by chance.
const ATTEMPTS: u32 = 100;
/// Ports that the kernel gives to outgoing connections by default.
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;
/// Lowest port to use: many services have a fixed port below it.
const LOWEST: u16 = 15_000;

/// A port that is free now, on all addresses: a container may listen on any of them. The kernel gives it to no outgoing connection and no `bind` to port
/// 0 until the container takes it. Another program may still take it by number.
pub async fn free_port() -> std::io::Result<SocketAddr> {
    let range = fixed_ports(ephemeral_ports().await);
    for _ in 0..ATTEMPTS {
        let port = rand::rng().random_range(range.clone());
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.is_ok() {
            return Ok((Ipv4Addr::LOCALHOST, port).into());
        }
    }
    Err(ErrorKind::AddrInUse.into())
}

/// True if a program's output says that its port was taken.
pub fn was_taken(log: &str) -> bool {
    let log = log.to_ascii_lowercase();
    ["address already in use", "address in use", "eaddrinuse"].iter().any(|words| log.contains(words))
}

async fn ephemeral_ports() -> RangeInclusive<u16> {
    #[expect(clippy::disallowed_methods, reason = "a line of the kernel")]
    let line = tokio::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").await.unwrap_or_default();
    let mut numbers = line.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(low)), Some(Ok(high))) => low..=high,
        _ => EPHEMERAL,
    }
}

/// The larger range of ports below or above the ephemeral ones; the ephemeral ones themselves where hardly any other is left.
fn fixed_ports(ephemeral: RangeInclusive<u16>) -> RangeInclusive<u16> {
    let below = LOWEST..=ephemeral.start().saturating_sub(1);
    let above = ephemeral.end().saturating_add(1).max(LOWEST)..=u16::MAX;
    let larger = if below.len() >= above.len() { below } else { above };
    if larger.len() >= 1_000 { larger } else { ephemeral }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avoids_ephemeral_ports() {
        assert_eq!(fixed_ports(EPHEMERAL), 15_000..=32_767);
        assert_eq!(fixed_ports(1_024..=40_000), 40_001..=65_535);
        assert_eq!(fixed_ports(1_024..=65_535), 1_024..=65_535);
    }

    #[tokio::test]
    async fn no_port_is_given_to_other_sockets() {
        let ephemeral = ephemeral_ports().await;
        let port = free_port().await.unwrap().port();
        assert!(!ephemeral.contains(&port) || ephemeral.len() > 45_000, "{port}");
    }

    #[test]
    fn recognises_taken_ports() {
        for log in [
            "httpd: bind: Address already in use",
            "Error: listen EADDRINUSE: :::8080",
            "OSError: [Errno 98] Address in use",
        ] {
            assert!(was_taken(log), "{log}");
        }
        assert!(!was_taken("exit 1"));
    }
}
