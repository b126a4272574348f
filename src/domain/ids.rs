//! Ids that clients see: a prefix for the type of object, and random characters that cannot be guessed.

use rand::RngExt;

/// Lower case only, because a deployment's id is also an image tag, a label and a part of AWS names.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// 20 characters out of 36 are 103 bits: collisions and guesses are practically impossible.
const RANDOM_CHARS: usize = 20;

fn random_id(prefix: &str) -> String {
    let mut rng = rand::rng();
    let mut id = String::with_capacity(prefix.len() + RANDOM_CHARS);
    id.push_str(prefix);
    id.extend((0..RANDOM_CHARS).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])));
    id
}

/// Generates the id of a deployment: `dep_…`.
pub fn deployment_id() -> String {
    random_id("dep_")
}

/// Generates the id of a connection to a source repository: `gh_…`.
pub fn github_connection_id() -> String {
    random_id("gh_")
}

/// Generates the id of a connection to an AWS account: `aws_…`.
pub fn aws_connection_id() -> String {
    random_id("aws_")
}

/// Generates the id of a schedule: `sch_…`.
pub fn schedule_id() -> String {
    random_id("sch_")
}

/// Generates the id of an App that GitHub creates from a manifest: `gha_…`.
pub fn github_app_id() -> String {
    random_id("gha_")
}

/// Generates the id of an API token: `tok_…`. The id is public and cannot be used to sign in.
pub fn token_id() -> String {
    random_id("tok_")
}

/// Generates the id of a revocation: `rev_…`.
pub fn revocation_id() -> String {
    random_id("rev_")
}

/// Generates the id of a freeze: `frz_…`.
pub fn freeze_id() -> String {
    random_id("frz_")
}

/// Generates the id of a push hook: `hok_…`.
pub fn push_hook_id() -> String {
    random_id("hok_")
}

/// Generates the id of a webhook: `whk_…`.
pub fn webhook_id() -> String {
    random_id("whk_")
}

/// Generates the id of a channel: `chn_…`.
pub fn channel_id() -> String {
    random_id("chn_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_prefixed_and_unique() {
        let (a, b) = (deployment_id(), deployment_id());
        assert!(a.starts_with("dep_") && a.len() == 24);
        assert_ne!(a, b);
        assert!(a.bytes().all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit()));
    }
}
