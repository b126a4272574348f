//! Bearer tokens of OpenID Connect issuers: who made them, for whom, and what their claims give.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clients::ClientError;
use crate::clients::oidc::{IssuerKeys, Times};
use crate::domain::claims::{Issuer, is_subject};
use crate::domain::permission::{Basis, Identity};
use crate::domain::principal::{Kind, Principal};
use crate::http::error::ApiError;

/// Signatures with a public key only. With HS256 whoever knows the public key could sign.
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

/// How far the clocks of issuer and server may differ, in seconds.
const LEEWAY: u64 = 30;

/// Longest token, in bytes; those with many groups have some thousands.
const MAX_TOKEN: usize = 8 * 1024;

/// Why a token gives no right.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// It is no token of an issuer that is trusted here.
    #[error("the token is of no issuer that is trusted here")]
    UnknownIssuer,
    /// It cannot be believed.
    #[error("the token is not valid: {0}")]
    Invalid(&'static str),
    /// It is good, and no rule says what its bearer may.
    #[error("the token is good, and no rule gives its bearer a right: its claims match none")]
    NoRight,
    /// The issuer's keys are not there.
    #[error("the token's issuer cannot be asked for its keys: {0}")]
    Unavailable(ClientError),
}

impl From<OidcError> for ApiError {
    fn from(error: OidcError) -> Self {
        match error {
            OidcError::UnknownIssuer => Self::NotSignedIn("the token is of no issuer that is trusted here"),
            OidcError::Invalid(reason) => Self::NotSignedIn(reason),
            OidcError::NoRight => {
                Self::NotSignedIn("the token is good, and no rule of the server gives its bearer a right")
            }
            OidcError::Unavailable(error) => Self::IssuerUnavailable(error),
        }
    }
}

/// Checks tokens: cheap to clone.
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
    /// For tokens of these issuers; none is asked yet.
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, ClientError> {
        Self::with_times(issuers, Times::default())
    }

    /// The same, with other times for their keys.
    pub fn with_times(issuers: Vec<Issuer>, times: Times) -> Result<Self, ClientError> {
        let with_keys = |issuer: Issuer| IssuerKeys::new(&issuer.issuer, times).map(|keys| (issuer, keys));
        Ok(Self { issuers: issuers.into_iter().map(with_keys).collect::<Result<_, _>>()? })
    }

    /// The issuers' names.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().map(|(issuer, _)| issuer.issuer.as_str())
    }

    /// Whether a bearer token looks like one that is for this: three parts, as no API token has.
    pub fn is_for(token: &str) -> bool {
        token.split('.').count() == 3
    }

    /// Who bears the token, and what they may.
    ///
    /// # Errors
    /// [`OidcError::Unavailable`] is worth trying again; the others are not.
    pub async fn verify(&self, token: &str) -> Result<Principal, OidcError> {
        if token.len() > MAX_TOKEN {
            return Err(OidcError::Invalid("it is too long"));
        }
        let header = decode_header(token).map_err(|_| OidcError::Invalid("it cannot be read"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(OidcError::Invalid("its algorithm is not allowed"));
        }
        // Extensions that change the meaning of the rest; none is known here.
        if header.crit.is_some() {
            return Err(OidcError::Invalid("it has critical extensions"));
        }
        // Only to find whose keys to try. Nothing of it is believed before the signature is.
        let unverified: Unverified =
            insecure_decode_claims(token).map_err(|_| OidcError::Invalid("it cannot be read"))?;
        let (issuer, keys) =
            self.issuers.iter().find(|(issuer, _)| issuer.issuer == unverified.iss).ok_or(OidcError::UnknownIssuer)?;
        let key = keys.key(header.kid.as_deref()).await.map_err(OidcError::Unavailable)?;
        let key = key.ok_or(OidcError::Invalid("its issuer has no such key"))?;
        let named = key.common.key_algorithm.map(|algorithm| algorithm.to_string());
        if named.is_some_and(|named| named != format!("{:?}", header.alg)) {
            return Err(OidcError::Invalid("its key is for another algorithm"));
        }
        let key = DecodingKey::from_jwk(&key).map_err(|_| OidcError::Invalid("its key cannot be used"))?;
        let claims = decode::<Map<String, Value>>(token, &key, &validation(issuer, header.alg));
        principal(issuer, claims.map_err(|error| OidcError::Invalid(reason(error.kind())))?.claims)
    }
}

fn validation(issuer: &Issuer, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY;
    validation.validate_nbf = true;
    validation.set_issuer(&[&issuer.issuer]);
    validation.set_audience(&issuer.audiences);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation
}

fn principal(issuer: &Issuer, claims: Map<String, Value>) -> Result<Principal, OidcError> {
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    if !is_subject(subject) {
        return Err(OidcError::Invalid("its subject is empty, too long or not fit to be shown"));
    }
    // Somewhat later than it says, as the check of the signature has it.
    let expires = claims.get("exp").and_then(Value::as_f64).unwrap_or_default();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "beyond the years that there are, it is refused on the next line"
    )]
    let expires_at = DateTime::<Utc>::from_timestamp(expires as i64, 0).ok_or(OidcError::Invalid("it has no end"))?;
    let (role, scope) = issuer.right(&claims).ok_or(OidcError::NoRight)?;
    let subject = issuer.subject_of(subject);
    let basis = Basis::Oidc(Arc::new(Identity::new(&issuer.issuer, claims)));
    Ok(Principal { subject, kind: Kind::Oidc, role, scope, expires_at: Some(expires_at), basis })
}

/// The library's reason, in words that tell nothing about the token's contents.
fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::InvalidIssuer => "it is of another issuer",
        ErrorKind::MissingRequiredClaim(_) => "it lacks one of exp, iss, aud, sub",
        ErrorKind::InvalidAlgorithm => "its algorithm is not that of its key",
        _ => "it cannot be read",
    }
}
