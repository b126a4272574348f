//! Who asks, and whether they may. Handlers name the least role that they need in their signature ([`Allowed`]); what is out of a caller's
//! scope is kept from them by the queries.
//!
//! A token is looked for in the database once and remembered (`known`); what is remembered is asked for again, all in one query, every two
//! seconds. So signing in costs a request a hash and a look into a map, a token that is revoked stops within five seconds, and so do
//! the streams that were opened with it.
//!
//! There are three ways to bring a right: a token in a header, which may do what its role says; the cookie of a session, which may only
//! read, so that a page elsewhere that makes a browser send it can change nothing; and a ticket in the URL, which opens one stream once.

mod allowed;
pub mod headers;
mod known;
mod opening;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use axum::http::request::Parts;
use chrono::Utc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

pub use allowed::{Admin, Allowed, Approver, Asks, Deployer, Least, Reads, Viewer};
pub use known::Known;

use super::error::ApiError;
use super::oidc::Verifier;
use crate::db::Db;
use crate::domain::principal::{Kind, Principal};
use crate::domain::token::SecretHash;
use known::{Credential, Key};
use opening::Opening;

/// Decides who is there: cheap to clone.
#[derive(Clone, Debug)]
pub struct Auth(Mode);

#[derive(Clone, Debug)]
enum Mode {
    /// Everybody has this right.
    Off(Right),
    /// Everybody on this machine has this right.
    Local(Right),
    Required(Arc<Required>),
}

/// Who is let in.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// The hash of the token that may do everything.
    pub admin: Option<SecretHash>,
    /// How long a session lasts.
    pub session: Duration,
    /// Whether whoever started a deployment may not switch it.
    pub another_approves: bool,
    /// Whose tokens are taken beside those of the database.
    pub oidc: Option<Verifier>,
}

#[derive(Debug)]
struct Required {
    options: AuthOptions,
    /// That of the admin token.
    admin: Option<Right>,
    db: Db,
    known: Arc<Known>,
    opening: Opening,
}

/// What somebody was let in by, as long as it lasts.
#[derive(Clone, Debug)]
pub struct Right {
    /// Who.
    pub principal: Arc<Principal>,
    /// Remembered; none where authentication is off.
    credential: Option<Arc<Credential>>,
    /// When it ends; none when it does so only by being revoked.
    until: Option<Instant>,
}

impl Right {
    /// What lasts until its time, which is that of another clock than the database's: an issuer's.
    fn of(principal: Principal) -> Self {
        let left = principal.expires_at.map(|at| (at - Utc::now()).to_std().unwrap_or_default());
        let until = left.and_then(|left| Instant::now().checked_add(left));
        Self { principal: Arc::new(principal), credential: None, until }
    }

    /// Of a verified token of an issuer, whose subject is accepted.
    fn of_subject(principal: Principal, subject: Arc<Credential>) -> Self {
        Self { credential: Some(subject), ..Self::of(principal) }
    }

    fn by(credential: Arc<Credential>) -> Self {
        Self { principal: Arc::clone(&credential.principal), until: credential.until, credential: Some(credential) }
    }

    /// Of whom nothing is known, and who gets nothing.
    pub fn none() -> Self {
        Self::of(Principal::nobody().reading())
    }

    /// The hash of the token with which it ends; none of a token of an issuer.
    pub fn credential(&self) -> Option<&SecretHash> {
        self.credential.as_ref().and_then(|credential| credential.hash.as_ref())
    }

    /// Resolves when it is revoked; none when it cannot be.
    pub fn ended(&self) -> Option<WaitForCancellationFutureOwned> {
        self.credential.as_ref().map(|credential| credential.ended.clone().cancelled_owned())
    }

    /// Whether it was revoked.
    pub fn is_over(&self) -> bool {
        self.credential.as_ref().is_some_and(|credential| credential.is_over())
    }

    /// How long it lasts from now on, at most `longest`.
    pub fn lifetime(&self, longest: Duration) -> Duration {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        left.map_or(longest, |left| left.min(longest))
    }
}

impl Auth {
    /// Everybody may everything.
    pub fn off() -> Self {
        Self(Mode::Off(Right::of(Principal::nobody())))
    }

    /// Whoever is on this machine may everything, and comes by a name of this machine. A page elsewhere can have its own name lead here, and
    /// would then be of the same origin as far as its reader's browser knows; so can a proxy that nobody told us of.
    pub fn local() -> Self {
        Self(Mode::Local(Right::of(Principal::nobody())))
    }

    /// Whoever comes has to sign in: with a token of the database, or with the admin token. Looks after what it remembers until `shutdown`.
    pub fn required(db: Db, options: AuthOptions, shutdown: &CancellationToken) -> Self {
        let known = Arc::new(Known::new(db.clone(), options.admin, shutdown.clone()));
        let (looking, stop) = (Arc::clone(&known), shutdown.clone());
        tokio::spawn(async move { stop.run_until_cancelled(looking.look_after()).await });
        let admin = options.admin.map(|hash| Right::by(known.lasting(hash, Principal::admin(hash.fingerprint()))));
        Self(Mode::Required(Arc::new(Required { options, admin, db, known, opening: Opening::default() })))
    }

    /// How long a session lasts; none where there are none, because nobody signs in.
    pub fn session(&self) -> Option<Duration> {
        match &self.0 {
            Mode::Off(_) | Mode::Local(_) => None,
            Mode::Required(required) => Some(required.options.session),
        }
    }

    /// Counts a session that a subject opens, or refuses it: each is a row of the audit, which is kept.
    ///
    /// # Errors
    /// [`ApiError::TooManySessions`].
    pub fn opens_session(&self, subject: &str) -> Result<(), ApiError> {
        match &self.0 {
            Mode::Off(_) | Mode::Local(_) => Ok(()),
            Mode::Required(required) => required.opening.check(subject),
        }
    }

    /// Whether whoever started a deployment may not switch it.
    pub fn needs_another(&self) -> bool {
        matches!(&self.0, Mode::Required(required) if required.options.another_approves)
    }

    /// Ends a session in this process at once.
    pub fn end_session(&self, hash: &SecretHash) {
        if let Mode::Required(required) = &self.0 {
            required.known.forget(&Key::Session(*hash));
        }
    }

    /// Names of the issuers whose tokens are taken.
    pub fn issuers(&self) -> Vec<&str> {
        match &self.0 {
            Mode::Off(_) | Mode::Local(_) => Vec::new(),
            Mode::Required(required) => required.options.oidc.iter().flat_map(Verifier::issuers).collect(),
        }
    }

    /// Ends the subject of an issuer in this process at once.
    pub fn end_subject(&self, name: &str) {
        if let Mode::Required(required) = &self.0 {
            required.known.forget(&Key::Subject(name.to_owned()));
        }
    }

    /// Who sends this request.
    ///
    /// # Errors
    /// [`ApiError::NotSignedIn`], or the database is away and it cannot be told.
    pub async fn right(&self, parts: &Parts) -> Result<Right, ApiError> {
        match &self.0 {
            Mode::Off(right) => Ok(right.clone()),
            Mode::Local(right) if headers::names_this_machine(&parts.headers) => Ok(right.clone()),
            Mode::Local(_) => Err(ApiError::NotSignedIn(
                "this server asks nobody who they are, so it takes requests to this machine's own names alone (localhost, 127.0.0.1); \
                 start it with --auth required",
            )),
            Mode::Required(required) => required.right(parts).await,
        }
    }

    /// Who sends this request, which a ticket for `deployment` (all when none) opens as well.
    ///
    /// # Errors
    /// As [`Self::right`].
    pub async fn right_or_ticket(&self, parts: &Parts, deployment: Option<&str>) -> Result<Right, ApiError> {
        let ticket = headers::ticket(parts.uri.query());
        match (&self.0, ticket) {
            (Mode::Required(required), Some(ticket)) if headers::bearer(&parts.headers)?.is_none() => {
                required.ticket(&SecretHash::of(&ticket), deployment).await
            }
            _ => self.right(parts).await,
        }
    }
}

impl Required {
    async fn right(&self, parts: &Parts) -> Result<Right, ApiError> {
        if let Some(token) = headers::bearer(&parts.headers)? {
            if let Some(oidc) = self.options.oidc.as_ref().filter(|_| Verifier::is_for(token)) {
                let revoked = ApiError::NotSignedIn("the token is good, and its subject was revoked here");
                return self.subject(oidc.verify(token).await?).await?.ok_or(revoked);
            }
            let unknown = ApiError::NotSignedIn("the token is not known here, or has expired, or was revoked");
            return self.token(SecretHash::of(token)).await?.ok_or(unknown);
        }
        let Some(session) = headers::session(&parts.headers) else {
            return Err(ApiError::NotSignedIn("there is no Authorization header"));
        };
        if ![Method::GET, Method::HEAD].contains(&parts.method) {
            return Err(ApiError::NotSignedIn("a session may only read"));
        }
        let known = self.known.get(Key::Session(SecretHash::of(session))).await?;
        known.map(Right::by).ok_or(ApiError::NotSignedIn("the session is over"))
    }

    /// Of a verified token of an issuer, unless its subject is revoked.
    async fn subject(&self, principal: Principal) -> Result<Option<Right>, ApiError> {
        let known = self.known.subject(&principal).await?;
        Ok(known.map(|known| Right::of_subject(principal, known)))
    }

    /// Of a token by its hash, if it is accepted.
    async fn token(&self, hash: SecretHash) -> Result<Option<Right>, ApiError> {
        if let Some(admin) = &self.admin
            && admin.credential().is_some_and(|known| known.is(&hash))
        {
            return Ok(Some(admin.clone()));
        }
        Ok(self.known.get(Key::Token(hash)).await?.map(Right::by))
    }

    async fn ticket(&self, ticket: &SecretHash, deployment: Option<&str>) -> Result<Right, ApiError> {
        let refused =
            || ApiError::NotSignedIn("the ticket was used before, is older than 30 s, or is for another stream");
        let used = self.db.use_ticket(ticket, deployment).await?.ok_or_else(refused)?;
        match used.credential {
            // Not what it was then: what it is now.
            Some(credential) => self.token(credential).await?.ok_or_else(refused),
            // From before whoever comes had to sign in.
            None if used.principal.kind == Kind::Nobody => Err(refused()),
            None => self.subject(used.principal).await?.ok_or_else(refused),
        }
    }
}
