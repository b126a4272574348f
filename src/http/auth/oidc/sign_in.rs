//! Sign-in of the web page with an issuer: authorization code with PKCE, state and nonce.
//!
//! A sign-in is a random secret in a cookie of the browser that began it. State, nonce and verifier are hashes of that secret, so that nothing is stored
//! and any replica can finish it; what the issuer and addresses show of it reveals neither the secret nor the verifier.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{OidcError, Verifier, principal, verified_claims};
use crate::bounded;
use crate::clients::oidc::{Authorization, CodeExchange, ExchangeError};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::keyring::KeyError;
use crate::domain::message::message;
use crate::domain::principal::Principal;
use crate::domain::token;

/// Time within which a sign-in must be finished.
pub const LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// Longest value of the cookie, in bytes. Browsers keep 4,096.
const MAX_COOKIE: usize = 4_096;

/// A sign-in that a browser began.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingSignIn {
    #[serde(serialize_with = "expose")]
    secret: SecretString,
    /// Issuer with which the browser signs in.
    pub issuer: String,
    /// Path to which the browser returns.
    pub next: String,
    expires_at: DateTime<Utc>,
}

/// Reason why a sign-in with an issuer failed after the issuer accepted the user.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The issuer refused the code: it is used, expired or another client's.
    #[error("the issuer refused the code: {0}")]
    CodeRefused(String),
    /// The id token is not valid, or no rule matches its claims.
    #[error(transparent)]
    Token(#[from] OidcError),
    /// The issuer is unavailable, or no longer configured for sign-in.
    #[error(transparent)]
    Unavailable(#[from] ClientError),
}

impl From<ExchangeError> for SignInError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused(code) => Self::CodeRefused(code),
            ExchangeError::Failed(error) => Self::Unavailable(error),
        }
    }
}

impl PendingSignIn {
    /// Begins a sign-in with `issuer` that returns to the path `next`.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn begin(issuer: &str, next: &str) -> Result<Self, KeyError> {
        let (issuer, next) = (issuer.to_owned(), next.to_owned());
        Ok(Self { secret: token::random()?, issuer, next, expires_at: Utc::now() + LIFETIME })
    }

    /// Returns the value of the browser's cookie.
    pub fn cookie(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads the cookie's value; none when it is not one of [`Self::cookie`], or the time is over.
    pub fn read(cookie: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(Some(cookie).filter(|cookie| cookie.len() <= MAX_COOKIE)?).ok()?;
        let pending: Self = serde_json::from_slice(&bytes).ok()?;
        (token::has_form("", pending.secret.expose_secret()) && pending.expires_at > Utc::now()).then_some(pending)
    }

    /// True when the issuer returned this sign-in's state.
    pub fn has_state(&self, state: &str) -> bool {
        token::SecretHash::of(&self.derived("state")).is(&token::SecretHash::of(state))
    }

    /// A value that depends on the secret and reveals nothing about it: 43 characters of base64url.
    fn derived(&self, purpose: &str) -> String {
        let secret = self.secret.expose_secret();
        URL_SAFE_NO_PAD.encode(Sha256::digest(format!("panda sign-in, version 1: {purpose} {secret}")))
    }
}

impl Verifier {
    /// Lists the issuers with which the web page signs in: index in the configuration, and name for people.
    pub fn sign_in_issuers(&self) -> impl Iterator<Item = (usize, String)> {
        let offered = self.issuers.iter().enumerate().filter(|(_, (issuer, _))| issuer.sign_in.is_some());
        offered.map(|(at, (issuer, _))| (at, issuer.display_name()))
    }

    /// The issuer at this index of [`Self::sign_in_issuers`].
    pub fn sign_in_issuer(&self, index: usize) -> Option<&str> {
        let (issuer, _) = self.issuers.get(index)?;
        issuer.sign_in.as_ref().map(|_| issuer.issuer.as_str())
    }

    /// Returns the issuer's address at which the browser signs in. `redirect_uri` is the address to which the issuer returns.
    ///
    /// # Errors
    /// The issuer is unavailable, or offers no sign-in.
    pub async fn authorization(&self, pending: &PendingSignIn, redirect_uri: &str) -> Result<Url, ClientError> {
        let (issuer, keys) = self.issuer(&pending.issuer).ok_or_else(not_offered)?;
        let client = issuer.sign_in.as_ref().ok_or_else(not_offered)?;
        let (state, nonce) = (pending.derived("state"), pending.derived("nonce"));
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(pending.derived("verifier")));
        let (client_id, scope) = (client.client_id.as_str(), client.scope());
        let (scope, state, nonce, challenge) = (scope.as_str(), state.as_str(), nonce.as_str(), challenge.as_str());
        keys.authorization(&Authorization { client_id, redirect_uri, scope, state, nonce, challenge }).await
    }

    /// Finishes a sign-in: exchanges the code, verifies the id token and applies the issuer's rules. The principal has no expiry: an id token proves
    /// that the user signed in, and expires within minutes.
    ///
    /// # Errors
    /// Only [`SignInError::Unavailable`] is temporary.
    pub async fn finish(
        &self,
        pending: &PendingSignIn,
        redirect_uri: &str,
        code: &str,
    ) -> Result<Principal, SignInError> {
        let (issuer, keys) = self.issuer(&pending.issuer).ok_or_else(not_offered)?;
        let client = issuer.sign_in.as_ref().ok_or_else(not_offered)?;
        let secret = match client.client_secret_file.clone() {
            Some(file) => Some(client_secret(&file).await?),
            None => None,
        };
        let verifier = pending.derived("verifier");
        let (client_id, client_secret, verifier) = (client.client_id.as_str(), secret.as_ref(), verifier.as_str());
        let exchange = CodeExchange { client_id, client_secret, redirect_uri, code, verifier };
        let id_token = keys.exchange(&exchange).await?;
        let audience = [client.client_id.clone()];
        let claims = verified_claims(id_token.expose_secret(), issuer, keys, &audience).await?;
        let has = |claim: &str, wanted: &str| claims.get(claim).and_then(Value::as_str) == Some(wanted);
        if !has("nonce", &pending.derived("nonce")) {
            return Err(OidcError::Invalid(message!("NOT_SIGNED_IN.other_nonce")).into());
        }
        // Of several audiences, this one must be the party that the token was issued to.
        if claims.contains_key("azp") && !has("azp", client_id) {
            return Err(OidcError::Invalid(message!("NOT_SIGNED_IN.other_audience")).into());
        }
        Ok(Principal { expires_at: None, ..principal(issuer, claims)? })
    }
}

/// Reads the client's secret, which may be renewed without a restart.
async fn client_secret(file: &Path) -> Result<SecretString, ClientError> {
    let (shown, file) = (file.display().to_string(), file.to_owned());
    let unreadable = |cause: String| ClientError::new(ErrorKind::Invalid, "client secret", format!("{shown}: {cause}"));
    let read = tokio::task::spawn_blocking(move || bounded::text_file(&file)).await;
    let text = read.map_err(|error| unreadable(error.to_string()))?.map_err(|error| unreadable(error.to_string()))?;
    Ok(SecretString::from(text.trim()))
}

fn not_offered() -> ClientError {
    ClientError::new(ErrorKind::Invalid, "sign-in", "the issuer is not configured for sign-in")
}

fn expose<S: serde::Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_round_trips_and_expires() {
        let pending = PendingSignIn::begin("https://issuer.example", "/history?from=1").unwrap();
        let read = PendingSignIn::read(&pending.cookie()).unwrap();
        assert_eq!((read.issuer.as_str(), read.next.as_str()), ("https://issuer.example", "/history?from=1"));
        assert!(read.has_state(&pending.derived("state")) && !read.has_state(&pending.derived("nonce")));
        let old = PendingSignIn { expires_at: Utc::now(), ..pending };
        assert!(PendingSignIn::read(&old.cookie()).is_none());
        for wrong in ["", "x", "e30", &URL_SAFE_NO_PAD.encode("{}"), &"a".repeat(5_000)] {
            assert!(PendingSignIn::read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn derived_values_are_distinct_and_fit_pkce() {
        let (one, two) = (PendingSignIn::begin("i", "/").unwrap(), PendingSignIn::begin("i", "/").unwrap());
        let mut values: Vec<String> = ["state", "nonce", "verifier"]
            .iter()
            .flat_map(|purpose| [one.derived(purpose), two.derived(purpose)])
            .collect();
        assert!(values.iter().all(|value| value.len() == 43));
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), 6);
        assert!(!format!("{one:?}").contains(one.secret.expose_secret()));
    }
}
