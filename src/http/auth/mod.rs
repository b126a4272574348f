//! Who asks, and whether they may. Handlers name the least role that they need in their signature ([`Allowed`]); what is out of a caller's
//! scope is kept from them by the queries.
//!
//! A token is looked for in the database once and remembered ([`known`]); what is remembered is asked for again, all in one query, every two
//! seconds. So signing in costs a request a hash and a look into a map, a token that is revoked stops within five seconds, and so do
//! the streams that were opened with it.

mod allowed;
mod known;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use chrono::Utc;
use tokio_util::sync::CancellationToken;

pub use allowed::{Allowed, Approver, Asks, Deployer, Least, Viewer};
pub use known::Known;

use super::error::ApiError;
use crate::db::Db;
use crate::domain::principal::Principal;
use crate::domain::token::SecretHash;
use known::Credential;

/// Longest bearer token, in bytes. Those of OpenID Connect issuers have some thousands.
const MAX_BEARER: usize = 8 * 1024;

/// Decides who is there: cheap to clone.
#[derive(Clone, Debug)]
pub struct Auth(Mode);

#[derive(Clone, Debug)]
enum Mode {
    /// Everybody has this right.
    Off(Right),
    Required(Arc<Required>),
}

#[derive(Debug)]
struct Required {
    admin: Option<(SecretHash, Right)>,
    known: Arc<Known>,
}

/// What somebody was let in by, as long as it lasts.
#[derive(Clone, Debug)]
pub struct Right {
    /// Who.
    pub principal: Arc<Principal>,
    /// Remembered; none for those who cannot be revoked while the process runs.
    credential: Option<Arc<Credential>>,
}

impl Right {
    /// What cannot be revoked while the process runs.
    fn of(principal: Principal) -> Self {
        Self { principal: Arc::new(principal), credential: None }
    }

    /// Of whom nothing is known, and who gets nothing.
    pub fn none() -> Self {
        Self::of(Principal::nobody().reading())
    }

    /// Cancelled when it is revoked, or at `shutdown`.
    pub fn end(&self, shutdown: &CancellationToken) -> CancellationToken {
        self.credential.as_ref().map_or_else(|| shutdown.clone(), |credential| credential.ended.clone())
    }

    /// How long it lasts from now on, at most `longest`.
    pub fn lifetime(&self, longest: Duration) -> Duration {
        let left = self.principal.expires_at.map(|at| (at - Utc::now()).to_std().unwrap_or_default());
        left.map_or(longest, |left| left.min(longest))
    }
}

impl Auth {
    /// Everybody may everything.
    pub fn off() -> Self {
        Self(Mode::Off(Right::of(Principal::nobody())))
    }

    /// Whoever comes has to sign in: with a token of the database, or with the one whose hash is `admin`. Looks after what it remembers
    /// until `shutdown`.
    pub fn required(db: Db, admin: Option<SecretHash>, shutdown: &CancellationToken) -> Self {
        let known = Arc::new(Known::new(db, shutdown.clone()));
        let (looking, shutdown) = (Arc::clone(&known), shutdown.clone());
        tokio::spawn(async move { shutdown.run_until_cancelled(looking.look_after()).await });
        let admin = admin.map(|hash| (hash, Right::of(Principal::admin())));
        Self(Mode::Required(Arc::new(Required { admin, known })))
    }

    /// Who sends these headers.
    ///
    /// # Errors
    /// [`ApiError::NotSignedIn`], or the database is away and it cannot be told.
    pub async fn right(&self, headers: &HeaderMap) -> Result<Right, ApiError> {
        match &self.0 {
            Mode::Off(right) => Ok(right.clone()),
            Mode::Required(required) => required.bearer(bearer(headers)?).await,
        }
    }
}

impl Required {
    async fn bearer(&self, token: &str) -> Result<Right, ApiError> {
        let hash = SecretHash::of(token);
        if let Some((admin, right)) = &self.admin
            && admin.is(&hash)
        {
            return Ok(right.clone());
        }
        let unknown = ApiError::NotSignedIn("the token is not known here, or has expired, or was revoked");
        let credential = self.known.get(hash).await?.ok_or(unknown)?;
        Ok(Right { principal: Arc::clone(&credential.principal), credential: Some(credential) })
    }
}

/// The token of the one `Authorization` header.
fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (given.next(), given.next());
    let value = first.ok_or(ApiError::NotSignedIn("there is no Authorization header"))?;
    if second.is_some() {
        return Err(ApiError::NotSignedIn("there are two Authorization headers"));
    }
    let token = value.to_str().ok().and_then(|value| value.split_once(' ')).and_then(|(scheme, token)| {
        let token = token.trim_matches(' ');
        let fits = (1..=MAX_BEARER).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(token)
    });
    token.ok_or(ApiError::NotSignedIn("the Authorization header is not Bearer and a token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        bearer(&headers).ok().map(ToOwned::to_owned)
    }

    #[test]
    fn one_bearer_token_is_read_and_nothing_else() {
        assert_eq!(read(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(read(&["bearer  a.b-c_d=="]).as_deref(), Some("a.b-c_d=="));
        for refused in [
            &[][..],
            &["abc"],
            &["Basic abc"],
            &["Bearer "],
            &["Bearer a b"],
            &["Bearer\tabc"],
            &["Bearer a", "Bearer a"],
        ] {
            assert_eq!(read(refused), None, "{refused:?}");
        }
        assert_eq!(read(&[&format!("Bearer {}", "x".repeat(MAX_BEARER + 1))]), None);
    }
}
