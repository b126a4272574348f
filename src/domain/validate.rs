//! Validation of names that users give, by the rules of GitHub, Git and AWS. Each error states the rule and the remedy.

use url::{Host, Url};

use super::aws_role::RoleArn;
use super::message::{Message, message};
use super::text::is_unfit_for_names;

/// Rule that a rejected value breaks, as a predicate without its subject: "must be …".
pub type BrokenRule = Message;

/// Checks the name of a GitHub account or organisation.
///
/// # Errors
/// The rule that it breaks.
pub fn owner(value: &str) -> Result<(), BrokenRule> {
    let ok = (1..=39).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !value.starts_with('-')
        && !value.ends_with('-');
    if ok { Ok(()) } else { Err(message!("rule.owner")) }
}

/// Checks the name of a GitHub repository.
///
/// # Errors
/// The rule that it breaks.
pub fn repo(value: &str) -> Result<(), BrokenRule> {
    let ok = (1..=100).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && value != "."
        && value != ".."
        && !value.to_ascii_lowercase().ends_with(".git");
    if ok { Ok(()) } else { Err(message!("rule.repo")) }
}

/// Checks the name of a branch, by the rules of `git check-ref-format`.
///
/// # Errors
/// The rule that it breaks.
pub fn branch(value: &str) -> Result<(), BrokenRule> {
    let bad_char = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let bad_component =
        |part: &str| part.is_empty() || part.starts_with('.') || part.to_ascii_lowercase().ends_with(".lock");
    let ok = (1..=244).contains(&value.len())
        && !value.contains(bad_char)
        && !value.contains("..")
        && !value.contains("@{")
        && value != "@"
        && !value.starts_with('-')
        && !value.ends_with('.')
        && !value.split('/').any(bad_component);
    if ok { Ok(()) } else { Err(message!("rule.branch")) }
}

/// A field whose value was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct FieldRefusal {
    /// Path of the field, such as `branch` or `build.secrets[0]`.
    pub field: String,
    /// Rule that the value breaks, with the remedy.
    pub rule: BrokenRule,
}

impl FieldRefusal {
    /// Creates the error of `field`; `rule` is a predicate such as "must be …".
    pub fn new(field: impl Into<String>, rule: BrokenRule) -> Self {
        Self { field: field.into(), rule }
    }

    /// Prefixes the field's path with the object `parent`.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

/// Checks the name of a tag, by the rules of `git check-ref-format`, without `refs/tags/`.
///
/// # Errors
/// The rule that it breaks.
pub fn tag(value: &str) -> Result<(), BrokenRule> {
    branch(value).map_err(|_| message!("rule.tag"))
}

/// Checks the full id of a commit. GitHub uses SHA-1 only. An abbreviation is rejected, because it may become ambiguous.
///
/// # Errors
/// The rule that it breaks.
pub fn commit(value: &str) -> Result<(), BrokenRule> {
    if value.len() == 40 && value.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(message!("rule.commit"))
    }
}

/// Checks the caller's reason for a deployment, a free text.
///
/// # Errors
/// The rule that it breaks.
pub fn reason(value: &str) -> Result<(), BrokenRule> {
    if (1..=MAX_REASON).contains(&value.chars().count()) && !value.contains(is_unfit_for_names) {
        Ok(())
    } else {
        Err(message!("rule.reason", max = MAX_REASON))
    }
}

/// Longest reason, in characters.
const MAX_REASON: usize = 500;

/// Regions of the partitions `aws`, `aws-cn` and `aws-us-gov`. The list catches typing errors.
pub const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// Checks an AWS region. `extra` are regions that the operator allows in addition to the known ones.
///
/// # Errors
/// The rule that it breaks.
pub fn region(value: &str, extra: &[String]) -> Result<(), BrokenRule> {
    if REGIONS.contains(&value) || extra.iter().any(|known| known == value) {
        Ok(())
    } else {
        Err(message!("rule.region"))
    }
}

/// Checks an AWS access key id.
///
/// # Errors
/// The rule that it breaks.
pub fn access_key_id(value: &str) -> Result<(), BrokenRule> {
    if (16..=128).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        Ok(())
    } else {
        Err(message!("rule.access_key_id"))
    }
}

/// Checks a secret that is sent in a header (a token, a secret key): visible ASCII only.
///
/// # Errors
/// The rule that it breaks; never the value.
pub fn secret(value: &str, max_len: usize) -> Result<(), BrokenRule> {
    if !value.is_empty() && value.len() <= max_len && value.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(message!("rule.secret", max = max_len))
    }
}

/// Checks the ARN of an IAM role.
///
/// # Errors
/// The rule that it breaks.
pub fn role_arn(value: &str) -> Result<(), BrokenRule> {
    RoleArn::parse(value).map(|_| ())
}

/// Checks an address that receives a token: `https`, or `http` on this machine, where no network is in between; no user or password.
///
/// # Errors
/// The rule that it breaks; never the address.
pub fn private_url(url: &Url) -> Result<(), BrokenRule> {
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if !(url.scheme() == "https" && url.has_host() || url.scheme() == "http" && is_here) {
        return Err(message!("rule.private_url"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(message!("rule.url_without_user"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_real_names() {
        for ok in ["a", "acme-inc", "A1"] {
            owner(ok).unwrap();
        }
        for ok in ["hello", ".github", "a.b_c-d"] {
            repo(ok).unwrap();
        }
        for ok in ["main", "feature/login", "release-1.2", "한글", "a@b"] {
            branch(ok).unwrap();
        }
        region("ap-northeast-2", &[]).unwrap();
        region("xx-new-1", &["xx-new-1".to_owned()]).unwrap();
        role_arn("arn:aws:iam::123456789012:role/team/panda").unwrap();
    }

    #[test]
    fn rejects_ambiguous_names() {
        for bad in ["", "-a", "a-", "a/b", "a b", "ünï", &"x".repeat(40), "a;rm"] {
            assert!(owner(bad).is_err(), "{bad:?}");
        }
        for bad in ["", ".", "..", "a/b", "x.git", "a b", "a\n"] {
            assert!(repo(bad).is_err(), "{bad:?}");
        }
        for bad in [
            "", "-x", "a..b", "a b", "a//b", "/a", "a/", "a.lock", "x/.y", "a\\b", "a:b", "@", "a@{1}", "a\u{7f}",
            "end.",
        ] {
            assert!(branch(bad).is_err(), "{bad:?}");
        }
        assert!(region("mars-north-1", &[]).is_err());
        assert!(secret("to ken", 100).is_err() && secret("to\nken", 100).is_err() && secret("", 100).is_err());
        assert!(role_arn("arn:aws:iam::1:role/x").is_err());
    }

    #[test]
    fn private_url_requires_https_or_this_machine() {
        for ok in
            ["https://github.com", "http://127.0.0.1:3000/x", "http://localhost:1", "http://[::1]/", "http://127.1/"]
        {
            private_url(&ok.parse().unwrap()).unwrap();
        }
        for bad in [
            "http://github.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://127.0.0.1.nip.io",
            "http://0.0.0.0",
            "file:///etc",
            "ssh://git@github.com/x",
            "git://github.com/x",
            "ftp://127.0.0.1/",
            "https://user@github.com",
            "https://u:p@github.com",
            "data:text/plain,x",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert!(private_url(&bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
