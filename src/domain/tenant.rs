//! What separates tenants at connections: the external id with which Panda assumes the roles of one scope and no other, and the mark by which a
//! connection is renewed by the tenant that made it.

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::principal::Scope;

/// What external ids begin with, so that people recognise them in trust policies.
const PREFIX: &str = "panda-";

/// Bytes of an external id: 128 bits cannot be guessed.
const ID_BYTES: usize = 16;

/// The external id of `scope`, which two scopes never share and which stays the same for as long as the installation's `secret` does. A token that
/// replaces another one, or an OpenID Connect subject with the same repositories, gets the same.
pub fn external_id(secret: &SecretString, scope: &Scope) -> SecretString {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let tag = hmac::sign(&key, format!("external id of {}", scope.canonical()).as_bytes());
    SecretString::from(format!("{PREFIX}{}", hex::encode(&tag.as_ref()[..ID_BYTES])))
}

/// External ids that a role must refuse: a random one finds trust policies with a pattern for any id, another last character finds those with a
/// pattern for the beginning of `right`.
pub fn wrong_external_ids(right: &str) -> [String; 2] {
    let random: [u8; ID_BYTES] = rand::random();
    let (start, last) = right.split_at(right.len().saturating_sub(1));
    let other = if last == "0" { "1" } else { "0" };
    [format!("{PREFIX}{}", hex::encode(random)), format!("{start}{other}")]
}

/// The mark of a connection to a source repository that `scope` made.
pub fn github_tenant(scope: &Scope) -> String {
    hex::encode(Sha256::digest(scope.canonical()))
}

/// The mark of a connection to an AWS account that `scope` made for `repositories`.
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
    fn an_external_id_is_one_per_scope_and_installation() {
        let scopes = [Scope::All, scope(&["acme/*"]), scope(&["acme/shop"]), scope(&["acme/shop", "toys/a"])];
        let ids: std::collections::BTreeSet<String> =
            scopes.iter().flat_map(|scope| [id("one", scope), id("two", scope)]).collect();
        assert_eq!(ids.len(), 8);
        for id in ids {
            assert!(id.starts_with("panda-") && id.len() == 38, "{id}");
        }
    }

    #[test]
    fn an_external_id_is_the_same_however_the_scope_is_written() {
        let one = id("s", &scope(&["acme/*"]));
        assert_eq!(one, id("s", &scope(&["ACME/*", "acme/shop", "acme/*"])));
        assert_eq!(one, id("s", &Scope::Repositories(vec!["acme/shop".into(), "Acme/*".into()])));
    }

    #[test]
    fn an_external_id_is_stable_across_versions() {
        assert_eq!(id("secret", &Scope::All), "panda-c7bf2279b0b51c1653349190e76e7cd1");
        assert_eq!(
            github_tenant(&Scope::All),
            "684888c0ebb17f374298b65ee2807526c066094c701bcc7ebbe1c1095f494fc1",
            "the migration writes the same"
        );
    }

    #[test]
    fn wrong_ids_look_like_right_ones() {
        let right = id("s", &Scope::All);
        let [random, near] = wrong_external_ids(&right);
        assert!(random != right && random.len() == right.len() && random.starts_with(PREFIX));
        assert!(near != right && near.len() == right.len() && near[..37] == right[..37]);
    }
}
