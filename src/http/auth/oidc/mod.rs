//! Verifies tokens of OpenID Connect issuers and derives the caller's role and scope from their claims; `sign_in` is the web page's sign-in with them.

pub mod sign_in;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clients::ClientError;
use crate::clients::oidc::{IssuerKeys, KeyLifetimes};
use crate::domain::message::{Message, message};
use crate::domain::oidc_claims::{Issuer, is_subject};
use crate::domain::permission_basis::{Basis, Identity};
use crate::domain::principal::{AuthMethod, Principal, Role, Scope};
use crate::http::auth::error::AccessError;
use crate::http::error::ApiError;

/// Accepted signature algorithms: those with a public key only. With HS256 anyone who knows the public key could sign.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Allowed difference between the clocks of issuer and server, in seconds.
const LEEWAY_SECONDS: u64 = 30;

/// Longest accepted token, in bytes. Tokens with many groups have a few thousand.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Reasons to reject a token.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The claim `iss` names none of the configured issuers.
    #[error("the token's issuer is not trusted by this server")]
    UnknownIssuer,
    /// The token is malformed, expired, for another audience, or its signature is wrong.
    #[error("the token is not valid: {0}")]
    Invalid(Message),
    /// The token is valid, but no configured rule matches its claims.
    #[error("the token is valid, but no rule of the server matches its claims")]
    NoRight,
    /// The issuer's signing keys could not be fetched.
    #[error("the keys of the token's issuer cannot be fetched: {0}")]
    Unavailable(ClientError),
}

impl From<OidcError> for ApiError {
    fn from(error: OidcError) -> Self {
        Self::Access(match error {
            OidcError::UnknownIssuer => AccessError::NotSignedIn(message!("NOT_SIGNED_IN.unknown_issuer")),
            OidcError::Invalid(reason) => AccessError::NotSignedIn(reason),
            OidcError::NoRight => AccessError::NotSignedIn(message!("NOT_SIGNED_IN.no_right")),
            OidcError::Unavailable(error) => AccessError::IssuerUnavailable(error),
        })
    }
}

/// Verifies tokens of the configured issuers. Clones share the cached keys.
#[derive(Clone)]
pub struct Verifier {
    issuers: Arc<[(Issuer, IssuerKeys)]>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.issuers.iter().map(|(issuer, _)| &issuer.issuer)).finish()
    }
}

#[derive(Deserialize)]
struct Unverified {
    iss: String,
}

impl Verifier {
    /// Creates a verifier for tokens of these issuers. Their keys are fetched with the first token.
    ///
    /// # Errors
    /// TLS cannot be set up for the HTTP client that fetches the keys.
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, ClientError> {
        Self::with_times(issuers, KeyLifetimes::default())
    }

    /// Like [`Self::new`], with other cache times of the issuers' keys.
    pub fn with_times(issuers: Vec<Issuer>, times: KeyLifetimes) -> Result<Self, ClientError> {
        let with_keys = |issuer: Issuer| IssuerKeys::new(&issuer.issuer, times).map(|keys| (issuer, keys));
        Ok(Self { issuers: issuers.into_iter().map(with_keys).collect::<Result<_, _>>()? })
    }

    /// Lists the issuer URLs, as in the claim `iss`.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().map(|(issuer, _)| issuer.issuer.as_str())
    }

    /// The role and scope that the present rules give to a subject with these claims; none when it has no permission any more.
    pub fn right(&self, identity: &Identity) -> Option<(Role, Scope)> {
        let (issuer, _) = self.issuer(&identity.issuer)?;
        issuer.is_for(&identity.claims).then(|| issuer.right(&identity.claims)).flatten()
    }

    /// Distinguishes a JWT, with two dots, from an API token, which has none.
    pub fn is_jwt(token: &str) -> bool {
        token.split('.').count() == 3
    }

    /// Verifies the token and returns its principal.
    ///
    /// # Errors
    /// Only [`OidcError::Unavailable`] is temporary.
    pub async fn verify(&self, token: &str) -> Result<Principal, OidcError> {
        check_header(token)?;
        // Only selects the keys to verify with. No claim is trusted before the signature is verified.
        let unverified: Unverified =
            insecure_decode_claims(token).map_err(|_| OidcError::Invalid(message!("NOT_SIGNED_IN.no_iss")))?;
        let (issuer, keys) = self.issuer(&unverified.iss).ok_or(OidcError::UnknownIssuer)?;
        principal(issuer, verified_claims(token, issuer, keys, &issuer.audiences).await?)
    }

    fn issuer(&self, name: &str) -> Option<&(Issuer, IssuerKeys)> {
        self.issuers.iter().find(|(issuer, _)| issuer.issuer == name)
    }
}

/// Rejects tokens whose header asks for what no issuer's token needs.
fn check_header(token: &str) -> Result<Header, OidcError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(OidcError::Invalid(message!("NOT_SIGNED_IN.too_long")));
    }
    let header = decode_header(token).map_err(|_| OidcError::Invalid(message!("NOT_SIGNED_IN.no_jwt")))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(OidcError::Invalid(message!("NOT_SIGNED_IN.algorithm_not_allowed")));
    }
    // Critical extensions change the meaning of the token, and none is supported.
    if header.crit.is_some() {
        return Err(OidcError::Invalid(message!("NOT_SIGNED_IN.critical_extensions")));
    }
    Ok(header)
}

/// Verifies a token of `issuer` for one of `audiences`, and returns its claims.
async fn verified_claims(
    token: &str,
    issuer: &Issuer,
    keys: &IssuerKeys,
    audiences: &[String],
) -> Result<Map<String, Value>, OidcError> {
    let header = check_header(token)?;
    let key = keys.key(header.kid.as_deref()).await.map_err(OidcError::Unavailable)?;
    let key = key.ok_or_else(|| OidcError::Invalid(message!("NOT_SIGNED_IN.no_key")))?;
    let named = key.common.key_algorithm.map(|algorithm| algorithm.to_string());
    if named.is_some_and(|named| named != format!("{:?}", header.alg)) {
        return Err(OidcError::Invalid(message!("NOT_SIGNED_IN.key_of_other_algorithm")));
    }
    let key = DecodingKey::from_jwk(&key).map_err(|_| OidcError::Invalid(message!("NOT_SIGNED_IN.unusable_key")))?;
    let claims = decode::<Map<String, Value>>(token, &key, &validation(issuer, header.alg, audiences));
    Ok(claims.map_err(|error| OidcError::Invalid(reason(error.kind())))?.claims)
}

fn validation(issuer: &Issuer, algorithm: Algorithm, audiences: &[String]) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY_SECONDS;
    validation.validate_nbf = true;
    validation.set_issuer(&[&issuer.issuer]);
    validation.set_audience(audiences);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation
}

fn principal(issuer: &Issuer, claims: Map<String, Value>) -> Result<Principal, OidcError> {
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    if !is_subject(subject) {
        return Err(OidcError::Invalid(message!("NOT_SIGNED_IN.bad_subject")));
    }
    // The expiry without the leeway that `validation` allows.
    let expires = claims.get("exp").and_then(Value::as_f64).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "an out-of-range value is rejected on the next line")]
    let expires_at = DateTime::<Utc>::from_timestamp(expires as i64, 0)
        .ok_or_else(|| OidcError::Invalid(message!("NOT_SIGNED_IN.bad_exp")))?;
    let (role, scope) = issuer.right(&claims).ok_or(OidcError::NoRight)?;
    let subject = issuer.subject_of(subject);
    let basis = Basis::Oidc(Arc::new(Identity::new(&issuer.issuer, claims)));
    Ok(Principal { subject, kind: AuthMethod::Oidc, role, scope, expires_at: Some(expires_at), basis })
}

/// Describes the library's error without revealing the token's contents.
fn reason(kind: &ErrorKind) -> Message {
    Message::new(match kind {
        ErrorKind::InvalidSignature => "NOT_SIGNED_IN.bad_signature",
        ErrorKind::ExpiredSignature => "NOT_SIGNED_IN.expired",
        ErrorKind::ImmatureSignature => "NOT_SIGNED_IN.immature",
        ErrorKind::InvalidAudience => "NOT_SIGNED_IN.other_audience",
        ErrorKind::InvalidIssuer => "NOT_SIGNED_IN.other_issuer",
        ErrorKind::MissingRequiredClaim(_) => "NOT_SIGNED_IN.missing_claim",
        ErrorKind::InvalidAlgorithm => "NOT_SIGNED_IN.other_algorithm",
        _ => "NOT_SIGNED_IN.invalid_jwt",
    })
}
