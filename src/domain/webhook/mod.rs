//! Outgoing webhooks, following [Standard Webhooks 1.0](https://github.com/standard-webhooks/standard-webhooks).

pub mod payload;
pub mod signing;

use url::Url;

use super::message::message;
use super::validate::BrokenRule;

/// Most webhooks of an installation: each may hold some hundred events in memory.
pub const MAX_WEBHOOKS: i64 = 100;

/// Most secrets of a webhook that sign at a time, the newest included.
pub const MAX_SECRETS: i64 = 3;

/// Hours for which a secret signs after its rotation, unless the caller names another number.
pub const ROTATION_HOURS: i64 = 24;

/// Most hours for which a secret signs after its rotation.
pub const MAX_ROTATION_HOURS: i64 = 168;

/// Longest address, in bytes.
const MAX_URL: usize = 2_000;

/// Parses the address of a receiver.
///
/// # Errors
/// The rule that it breaks; never the address, which may authenticate.
pub fn url(given: &str) -> Result<Url, BrokenRule> {
    let url = Url::parse(given).ok().filter(|url| {
        ["http", "https"].contains(&url.scheme())
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    });
    url.filter(|url| url.as_str().len() <= MAX_URL).ok_or_else(|| message!("rule.webhook_url", max = MAX_URL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_unsuitable_addresses() {
        for right in ["https://hooks.example/panda?x=1", "http://10.0.0.7:8080/"] {
            url(right).unwrap();
        }
        let long = format!("https://hooks.example/{}", "x".repeat(MAX_URL));
        for wrong in ["hooks.example", "ftp://hooks.example/", "https://me:pw@hooks.example/", "https://h/#x", &long] {
            url(wrong).unwrap_err();
        }
    }
}
