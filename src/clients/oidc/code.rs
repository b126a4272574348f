//! The authorization code flow with PKCE (RFC 6749, RFC 7636): the address at which a browser signs in, and the exchange of the code for an id token.
//!
//! Nothing is trusted here: the caller verifies the id token. A crash between the exchange and the session leaves a used code, so that the user signs in
//! again.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::{CALL, Endpoints, IssuerKeys, MAX_RESPONSE_BYTES};
use crate::bounded;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::text::{self, chain};

/// Maximum number of codes that are exchanged concurrently at one issuer: any client can call the address to which issuers return.
pub(super) const MAX_EXCHANGES: usize = 16;

/// Longest error code of an issuer that is repeated, in characters.
const MAX_ERROR: usize = 64;

/// Parameters of a sign-in, which the issuer returns or puts into the id token.
#[derive(Clone, Copy, Debug)]
pub struct Authorization<'a> {
    /// Client id that the issuer gave Panda.
    pub client_id: &'a str,
    /// Address to which the issuer returns.
    pub redirect_uri: &'a str,
    /// Requested scopes, separated by spaces.
    pub scope: &'a str,
    /// Value that binds the answer to the browser.
    pub state: &'a str,
    /// Value that binds the id token to the browser.
    pub nonce: &'a str,
    /// SHA-256 of the verifier that the exchange sends, in base64url.
    pub challenge: &'a str,
}

/// A code, with what the issuer compares before it gives an id token for it.
#[derive(Clone, Copy)]
pub struct CodeExchange<'a> {
    /// Client id that the issuer gave Panda.
    pub client_id: &'a str,
    /// The client's secret; none for a public client.
    pub client_secret: Option<&'a SecretString>,
    /// Address to which the issuer returned, as sent to it.
    pub redirect_uri: &'a str,
    /// The code that the issuer gave the browser.
    pub code: &'a str,
    /// The verifier whose hash the sign-in sent.
    pub verifier: &'a str,
}

impl CodeExchange<'_> {
    /// The body of the exchange. It names the client where the header does not.
    fn form(&self, secret_in_body: bool) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", self.code)
            .append_pair("redirect_uri", self.redirect_uri)
            .append_pair("code_verifier", self.verifier);
        if self.client_secret.is_none() || secret_in_body {
            form.append_pair("client_id", self.client_id);
        }
        if let Some(secret) = self.client_secret.filter(|_| secret_in_body) {
            form.append_pair("client_secret", secret.expose_secret());
        }
        form.finish()
    }
}

impl fmt::Debug for CodeExchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeExchange").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// Reason why a code was not exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The issuer refused it, with this error code: `invalid_grant` for a code that is used, expired or another client's.
    #[error("the issuer refused the code: {0}")]
    Refused(String),
    /// The issuer is unavailable, or its answer cannot be read.
    #[error(transparent)]
    Failed(#[from] ClientError),
}

#[derive(Deserialize)]
struct Tokens {
    id_token: SecretString,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl IssuerKeys {
    /// Returns the address at which a browser signs in.
    ///
    /// # Errors
    /// The issuer is unavailable, or offers no sign-in.
    pub async fn authorization(&self, request: &Authorization<'_>) -> Result<Url, ClientError> {
        let mut url = self.endpoints().await?.authorization;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", request.client_id)
            .append_pair("redirect_uri", request.redirect_uri)
            .append_pair("scope", request.scope)
            .append_pair("state", request.state)
            .append_pair("nonce", request.nonce)
            .append_pair("code_challenge", request.challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Exchanges a code for an id token, which the caller must verify.
    ///
    /// # Errors
    /// [`ExchangeError::Refused`] when the issuer refuses the code.
    pub async fn exchange(&self, request: &CodeExchange<'_>) -> Result<SecretString, ExchangeError> {
        let endpoints = self.endpoints().await?;
        let Ok(_exchange_slot) = self.0.exchanging.try_acquire() else {
            let busy = "too many sign-ins are being completed".to_owned();
            return Err(ClientError::new(ErrorKind::Unavailable, CALL, busy).into());
        };
        let mut call = self.0.http.post(endpoints.token.clone());
        if let Some(secret) = request.client_secret.filter(|_| !endpoints.secret_in_body) {
            call = call.header(header::AUTHORIZATION, basic(request.client_id, secret));
        }
        let call = call
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(request.form(endpoints.secret_in_body));
        let failed = |kind, cause: String| ExchangeError::Failed(ClientError::new(kind, CALL, cause));
        let response = call.send().await.map_err(|error| failed(ErrorKind::Unavailable, chain(&error)))?;
        let status = response.status();
        let body = bounded::body(response, MAX_RESPONSE_BYTES).await;
        let body = body.map_err(|error| failed(ErrorKind::Unavailable, error.to_string()))?;
        if status.is_success() {
            // The cause could quote the token.
            let unreadable = |_| failed(ErrorKind::Invalid, "its token endpoint returned no id token".to_owned());
            return serde_json::from_slice::<Tokens>(&body).map(|tokens| tokens.id_token).map_err(unreadable);
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) if status.is_client_error() => {
                Err(ExchangeError::Refused(text::cut(&text::visible(&refusal.error), MAX_ERROR)))
            }
            _ => Err(failed(
                ErrorKind::of_status(status.as_u16()),
                format!("its token endpoint answered with status {status}"),
            )),
        }
    }

    async fn endpoints(&self) -> Result<Endpoints, ClientError> {
        let none = "its discovery document names no safe authorization_endpoint and token_endpoint".to_owned();
        // `find` distinguishes an issuer without a sign-in from one that is not cached.
        let found = self.find(|published| Some(published.endpoints.clone())).await?.flatten();
        found.ok_or_else(|| ClientError::new(ErrorKind::Invalid, CALL, none))
    }
}

/// The header of `client_secret_basic`: both parts are form-encoded first (RFC 6749, 2.3.1).
fn basic(client_id: &str, secret: &SecretString) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(secret.expose_secret()))))
}
