//! Who may use the API, as the configuration says.

use std::net::SocketAddr;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use super::AppError;
use super::schema::RETRY;
use crate::bounded;
use crate::config::Config;
use crate::db::Db;
use crate::domain::claims::{self, Issuer};
use crate::domain::permission::SignIn;
use crate::domain::token::SecretHash;
use crate::http::oidc::Verifier;
use crate::http::{Auth, AuthOptions};

/// Shorter ones could be found by trying.
const SHORTEST_ADMIN_TOKEN: usize = 32;

/// Who may use the API at `address`, and what of that decides whether a permission still exists; and whether the database must have a token, because nobody could sign in otherwise. At loopback it may
/// get one later.
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
        let options =
            AuthOptions { admin, session: config.auth.session, another_approves: config.auth.another_approves, oidc };
        return Ok((Auth::required(db, options, stop), sign_in, needs_token));
    }
    if config.auth.is_off() {
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "authentication is off: everybody who reaches this address may do everything");
        }
        return Ok((Auth::off(), SignIn::default(), false));
    }
    Ok((Auth::local(), SignIn::default(), false))
}

/// The issuers in this file.
fn issuers(path: &Path) -> Result<Vec<Issuer>, AppError> {
    let refused = |problem: String| AppError::Issuers { problem: format!("{}: {problem}", path.display()) };
    let text = bounded::text_file(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    claims::parse(&text).map_err(refused)
}

/// The hash of the token in this file.
fn admin_token(path: &Path) -> Result<SecretHash, AppError> {
    let refused = |problem: String| AppError::AdminToken { problem: format!("{}: {problem}", path.display()) };
    let text = bounded::text_file(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let text = SecretString::from(text);
    let token = text.expose_secret().trim();
    if token.len() < SHORTEST_ADMIN_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let rule = format!("must hold one token of {SHORTEST_ADMIN_TOKEN} visible ASCII characters or more");
        return Err(refused(format!("{rule}, such as `openssl rand -hex 32` prints")));
    }
    Ok(SecretHash::of(token))
}

/// Whether there is a token with which somebody can sign in, once the database says so. True when stopped before.
pub(super) async fn wait_for_token(db: &Db, stop: &CancellationToken) -> bool {
    loop {
        match db.has_usable_token().await {
            Ok(there) => return there,
            Err(error) => tracing::warn!(%error, "whether there are API tokens cannot be told yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = stop.cancelled() => return true,
        }
    }
}
