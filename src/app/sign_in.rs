//! Authentication of the API according to the configuration.

use std::net::SocketAddr;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use super::AppError;
use super::schema::RETRY_AFTER;
use crate::bounded;
use crate::config::Config;
use crate::db::Db;
use crate::domain::oidc_claims::{self, Issuer};
use crate::domain::permission::SignIn;
use crate::domain::token::SecretHash;
use crate::http::auth::oidc::Verifier;
use crate::http::{Auth, AuthOptions};

/// Shortest admin token in characters. A shorter one could be guessed.
const MIN_ADMIN_TOKEN_LENGTH: usize = 32;

/// Configures the authentication of the API at `address`. Also returns the sign-in settings that decide whether a schedule's permission still exists,
/// and true if the database must contain a token, because no caller could sign in otherwise. On a loopback address the token may be created later.
pub(super) fn authentication(
    config: &Config,
    db: Db,
    address: SocketAddr,
    stop: &CancellationToken,
) -> Result<(Auth, SignIn, bool), AppError> {
    let admin = config.auth.admin_token_file.as_deref().map(admin_token).transpose()?;
    let proxied = !config.http.trusted_proxies.is_empty();
    if config.auth.is_required(address, proxied) {
        let issuers = config.auth.oidc_file.as_deref().map(issuers).transpose()?;
        let sign_in = SignIn {
            required: true,
            admin: admin.as_ref().map(SecretHash::fingerprint),
            issuers: issuers.clone().unwrap_or_default().into(),
        };
        let oidc = issuers.map(Verifier::new).transpose()?;
        let needs_token = admin.is_none() && oidc.is_none() && !address.ip().is_loopback();
        let options = AuthOptions { admin, session: config.auth.session, four_eyes: config.auth.four_eyes, oidc };
        return Ok((Auth::required(db, options, stop), sign_in, needs_token));
    }
    if config.auth.is_off() {
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "authentication is off, everyone who reaches this address has full access");
        }
        return Ok((Auth::off(), SignIn::default(), false));
    }
    Ok((Auth::local(), SignIn::default(), false))
}

/// Reads the OpenID Connect issuers from a file.
fn issuers(path: &Path) -> Result<Vec<Issuer>, AppError> {
    let refused = |problem: String| AppError::Issuers { problem: format!("{}: {problem}", path.display()) };
    let text = bounded::text_file(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let issuers = oidc_claims::parse(&text).map_err(refused)?;
    // Sign-ins read these files again; a missing one must not be noticed first by a user.
    let secrets = issuers.iter().filter_map(|issuer| issuer.sign_in.as_ref()?.client_secret_file.as_deref());
    for file in secrets {
        let unreadable =
            |error| refused(format!("signIn.clientSecretFile {}: cannot be read: {error}", file.display()));
        drop(SecretString::from(bounded::text_file(file).map_err(unreadable)?));
    }
    Ok(issuers)
}

/// Reads the admin token from a file. Only its hash is kept.
fn admin_token(path: &Path) -> Result<SecretHash, AppError> {
    let refused = |problem: String| AppError::AdminToken { problem: format!("{}: {problem}", path.display()) };
    let text = bounded::text_file(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let text = SecretString::from(text);
    let token = text.expose_secret().trim();
    if token.len() < MIN_ADMIN_TOKEN_LENGTH || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let rule = format!("must hold one token of {MIN_ADMIN_TOKEN_LENGTH} visible ASCII characters or more");
        return Err(refused(format!("{rule}, such as `openssl rand -hex 32` prints")));
    }
    Ok(SecretHash::of(token))
}

/// Returns true if the database has a token to sign in with; waits for the database if necessary. Also returns true when stopped before.
pub(super) async fn wait_for_token(db: &Db, stop: &CancellationToken) -> bool {
    loop {
        match db.has_usable_token().await {
            Ok(exists) => return exists,
            Err(error) => tracing::warn!(%error, "API tokens cannot be checked, retrying"),
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY_AFTER) => {}
            () = stop.cancelled() => return true,
        }
    }
}
