//! Ids and addresses of channels and people.

use url::{Host, Url};

use crate::domain::message::message;
use crate::domain::validate::BrokenRule;
use crate::domain::webhook;

/// Longest mail address, in bytes.
const MAX_MAIL: usize = 254;

/// Most recipients of a channel's mails.
const MAX_RECIPIENTS: usize = 50;

/// Longest secret, in bytes.
const MAX_SECRET: usize = 2_000;

/// Checks the id of a Slack channel.
///
/// # Errors
/// It is a name, or has other characters.
pub fn slack_channel(given: &str) -> Result<(), BrokenRule> {
    let fits = (9..=30).contains(&given.len())
        && given.starts_with(['C', 'G', 'D'])
        && given.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if fits { Ok(()) } else { Err(message!("rule.slack_channel")) }
}

/// Checks a bot token or a password. The rule never shows it.
///
/// # Errors
/// It is empty, too long, or has spaces or control characters.
pub fn secret(given: &str) -> Result<(), BrokenRule> {
    let fits = (1..=MAX_SECRET).contains(&given.len()) && given.chars().all(|c| c.is_ascii_graphic());
    if fits { Ok(()) } else { Err(message!("rule.channel_secret", max = MAX_SECRET)) }
}

/// Parses the address of an incoming webhook, and returns it with its host.
///
/// # Errors
/// It is no address for an outgoing request; never the address itself, which authenticates.
pub fn hook(given: &str) -> Result<(Url, String), BrokenRule> {
    let url = webhook::url(given)?;
    let host = url.host_str().unwrap_or_default().to_owned();
    Ok((url, host))
}

/// Checks a mail address: ASCII, without quotes, comments or anything else that could end a header.
///
/// # Errors
/// It is something else.
pub fn mail(given: &str) -> Result<(), BrokenRule> {
    let rule = || message!("rule.mail_address", value = format!("{given:?}"));
    let (local, domain) = given.rsplit_once('@').ok_or_else(rule)?;
    let dotted = |text: &str, extra: &str| {
        !text.is_empty()
            && text.split('.').all(|part| !part.is_empty())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || extra.contains(c))
    };
    let fits =
        given.len() <= MAX_MAIL && dotted(local, "!#$%&'*+/=?^_{|}~-") && local.len() <= 64 && dotted(domain, "-");
    if fits && !domain.starts_with('-') { Ok(()) } else { Err(rule()) }
}

/// Checks the recipients of a channel's mails.
///
/// # Errors
/// There are none or too many, or one that is no address.
pub fn recipients(given: &[String]) -> Result<(), BrokenRule> {
    if !(1..=MAX_RECIPIENTS).contains(&given.len()) {
        return Err(message!("rule.mail_recipients", max = MAX_RECIPIENTS));
    }
    given.iter().try_for_each(|one| mail(one))
}

/// Checks the name or address of a server of SMTP.
///
/// # Errors
/// It is neither.
pub fn host(given: &str) -> Result<(), BrokenRule> {
    let plain = given.len() <= 253 && given.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b));
    let parsed = Host::parse(given).is_ok() || given.parse::<std::net::IpAddr>().is_ok();
    if plain && parsed { Ok(()) } else { Err(message!("rule.mail_host")) }
}

/// Checks the user name for a server of SMTP.
///
/// # Errors
/// It is empty, too long, or has control characters.
pub fn mail_user(given: &str) -> Result<(), BrokenRule> {
    let fits = (1..=MAX_MAIL).contains(&given.len()) && !given.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(message!("rule.mail_user", max = MAX_MAIL)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_addresses_cannot_end_a_header() {
        for right in ["ops@example.com", "first.last+panda@mail.example.co.kr", "root@localhost"] {
            mail(right).unwrap();
        }
        for wrong in [
            "ops",
            "@example.com",
            "ops@",
            "ops@example.com\r\nBcc: x@evil.example",
            "a b@example.com",
            "\"a\"@example.com",
            "<a@example.com>",
            "a@example.com,b@example.com",
            "운영@example.com",
            "a..b@example.com",
        ] {
            mail(wrong).unwrap_err();
        }
        recipients(&[]).unwrap_err();
    }

    #[test]
    fn refuses_names_and_secrets_of_another_form() {
        slack_channel("C0123456789").unwrap();
        for wrong in ["#general", "general", "c0123456789", "C01 23456789", "U0123456789"] {
            slack_channel(wrong).unwrap_err();
        }
        secret("xoxb-1").unwrap();
        for wrong in ["", "a b", "a\nb"] {
            assert!(!secret(wrong).unwrap_err().to_string().contains("a b"));
        }
        for right in ["smtp.example.com", "10.0.0.7", "::1"] {
            host(right).unwrap();
        }
        for wrong in ["", "smtp example", "user@host", "host/path"] {
            host(wrong).unwrap_err();
        }
    }
}
