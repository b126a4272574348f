//! Separation of tenants at connections: the external id with which Panda assumes the roles of one scope only, and the tenant id that lets
//! only the creating tenant renew a connection.

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::principal::Scope;

/// Prefix of external ids, which makes them recognisable in trust policies.
const PREFIX: &str = "panda-";

/// Length of an external id, in bytes: 128 bits cannot be guessed.
const ID_BYTES: usize = 16;

/// Returns the external id of `scope`. Different scopes never share an id, and the id stays the same as long as the installation's `secret`
/// does. A replacement token, or an OpenID Connect subject with the same repositories, gets the same id.
pub fn external_id(secret: &SecretString, scope: &Scope) -> SecretString {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let tag = hmac::sign(&key, format!("external id of {}", scope.canonical()).as_bytes());
    SecretString::from(format!("{PREFIX}{}", hex::encode(&tag.as_ref()[..ID_BYTES])))
}

/// Returns external ids that a role must refuse. The random one detects trust policies with a pattern for any id; the one with another last
/// character detects a pattern for the beginning of `right`.
pub fn wrong_external_ids(right: &str) -> [String; 2] {
    let random: [u8; ID_BYTES] = rand::random();
    let (start, last) = right.split_at(right.len().saturating_sub(1));
    let other = if last == "0" { "1" } else { "0" };
    [format!("{PREFIX}{}", hex::encode(random)), format!("{start}{other}")]
}

/// Returns the tenant id of a connection to a source repository that a caller with `scope` created.
pub fn github_tenant(scope: &Scope) -> String {
    hex::encode(Sha256::digest(scope.canonical()))
}

/// Returns the tenant id of a connection to an AWS account that a caller with `scope` created for `repositories`.
pub fn aws_tenant(scope: &Scope, repositories: &Scope) -> String {
    hex::encode(Sha256::digest(format!("{} {}", scope.canonical(), repositories.canonical())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(names: &[&str]) -> Scope {
        Scope::of(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn id(secret: &str, scope: &Scope) -> String {
        external_id(&SecretString::from(secret), scope).expose_secret().to_owned()
    }

    #[test]
    fn external_id_is_unique_per_scope_and_installation() {
        let scopes = [Scope::All, scope(&["acme/*"]), scope(&["acme/shop"]), scope(&["acme/shop", "toys/a"])];
        let ids: std::collections::BTreeSet<String> =
            scopes.iter().flat_map(|scope| [id("one", scope), id("two", scope)]).collect();
        assert_eq!(ids.len(), 8);
        for id in ids {
            assert!(id.starts_with("panda-") && id.len() == 38, "{id}");
        }
    }

    #[test]
    fn external_id_ignores_the_notation_of_the_scope() {
        let one = id("s", &scope(&["acme/*"]));
        assert_eq!(one, id("s", &scope(&["ACME/*", "acme/shop", "acme/*"])));
        assert_eq!(one, id("s", &Scope::Repositories(vec!["acme/shop".into(), "Acme/*".into()])));
    }

    #[test]
    fn external_id_is_stable_across_versions() {
        assert_eq!(id("secret", &Scope::All), "panda-c7bf2279b0b51c1653349190e76e7cd1");
        assert_eq!(
            github_tenant(&Scope::All),
            "684888c0ebb17f374298b65ee2807526c066094c701bcc7ebbe1c1095f494fc1",
            "the migration writes the same value"
        );
    }

    #[test]
    fn wrong_ids_resemble_right_ones() {
        let right = id("s", &Scope::All);
        let [random, near] = wrong_external_ids(&right);
        assert!(random != right && random.len() == right.len() && random.starts_with(PREFIX));
        assert!(near != right && near.len() == right.len() && near[..37] == right[..37]);
    }
}
