//! The basis of a permission: the credential that a principal signed in with.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::token::SecretHash;

/// Claims that differ in each token of the same subject and give no permission.
const PER_TOKEN_CLAIMS: [&str; 7] = ["exp", "iat", "nbf", "jti", "nonce", "at_hash", "auth_time"];

/// Subject of an OpenID Connect token, with the claims that its issuer vouched for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Issuer as named in the configuration.
    pub issuer: String,
    /// All claims except `PER_TOKEN_CLAIMS`. At most as large as a token.
    pub claims: Map<String, Value>,
}

impl Identity {
    /// Creates an identity from the claims of a token. The caller must have verified the token's signature.
    pub fn new(issuer: &str, mut claims: Map<String, Value>) -> Self {
        claims.retain(|name, _| !PER_TOKEN_CLAIMS.contains(&name.as_str()));
        Self { issuer: issuer.to_owned(), claims }
    }
}

/// Basis of a principal's permission, where its authentication method alone does not determine it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Basis {
    /// The authentication method itself: an API token by its id, or none.
    #[default]
    Kind,
    /// The admin token with this fingerprint.
    Admin(SecretHash),
    /// The issuer's rules for the subject of an OpenID Connect token.
    Oidc(Arc<Identity>),
}
