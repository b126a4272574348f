//! Ids as clients see them: a prefix that says what it is, and random characters that nobody can guess.

use rand::RngExt;

/// Lower case only: a deployment's id is also an image tag, a label and a part of AWS names.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// 20 of 36 characters are 103 bits: no two are ever equal, and none is found by trying.
const RANDOM_CHARS: usize = 20;

fn random_id(prefix: &str) -> String {
    let mut rng = rand::rng();
    let mut id = String::with_capacity(prefix.len() + RANDOM_CHARS);
    id.push_str(prefix);
    id.extend((0..RANDOM_CHARS).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])));
    id
}

/// A new deployment id: `dep_…`.
pub fn deployment_id() -> String {
    random_id("dep_")
}

/// A new id of a connection to a source repository: `gh_…`.
pub fn github_connection_id() -> String {
    random_id("gh_")
}

/// A new id of a connection to an AWS account: `aws_…`.
pub fn aws_connection_id() -> String {
    random_id("aws_")
}

/// A new id of a schedule: `sch_…`.
pub fn schedule_id() -> String {
    random_id("sch_")
}

/// A new id of an API token: `tok_…`. It names the token without being it.
pub fn token_id() -> String {
    random_id("tok_")
}

/// A new id of a revocation: `rev_…`.
pub fn revocation_id() -> String {
    random_id("rev_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_what_they_are_and_differ() {
        let (a, b) = (deployment_id(), deployment_id());
        assert!(a.starts_with("dep_") && a.len() == 24);
        assert_ne!(a, b);
        assert!(a.bytes().all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit()));
    }
}
