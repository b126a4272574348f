//! Address of the server, as the command line accepts it.

use url::{Host, Url};

/// The server that a command without `--server` uses.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// True for a loopback address, which a proxy cannot reach.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Parses an address without user, password, query and fragment.
pub fn server_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; give an address such as http://127.0.0.1:8080"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("give an address that begins with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("give the address alone, without user, password or query".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_passwords_in_server_addresses() {
        assert!(server_url("http://user:secret@host").unwrap_err().contains("without user"));
        assert!(server_url("ftp://host").unwrap_err().contains("http://"));
        assert!(server_url("127.0.0.1:8080").is_err());
    }
}
