//! Authentication and authorisation. A handler names the minimum role in its signature ([`RequireRole`]); the queries restrict results to the
//! caller's scope.
//!
//! A token is looked up in the database once and cached (`credential_cache`); every two seconds all cached credentials are checked again, with
//! one query a kind. So authenticating a request costs a hash and a map lookup, and a revoked token, with the streams that it opened, stops within
//! five seconds. Look-ups of credentials that are not cached share one statement at a time (`credential_lookup`).
//!
//! A request can authenticate in three ways: with a token in a header, which may do what its role allows; with a session cookie; and with a ticket in
//! the URL, which opens one stream once. A browser sends a cookie at the request of any page, so that a cookie changes something only when its session
//! is of the web page's sign-in and the request proves that it comes from that page (`PageOrigin`). For pages of other origins it reads as a viewer.

mod credential_cache;
mod credential_lookup;
pub mod error;
pub mod headers;
pub mod oidc;
mod rate;
mod require_role;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use axum::http::request::Parts;
use chrono::Utc;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

pub use credential_cache::CredentialCache;
pub use require_role::{Admin, Approver, Deployer, DeploymentReader, MinimumRole, RequireRole, StreamGrant, Viewer};

use crate::commands::sessions::redeem_ticket;
use crate::db::Db;
use crate::db::tokens::CredentialForm;
use crate::domain::message::message;
use crate::domain::principal::{AuthMethod, Principal};
use crate::domain::token::{self, SecretHash};
use crate::http::auth::error::AccessError;
use crate::http::auth::oidc::Verifier;
use crate::http::error::ApiError;
use crate::http::middleware::csrf::PageOrigin;
use credential_cache::Credential;
use credential_lookup::{Finder, Key};
use rate::KeyedRate;

/// Authenticates requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Auth(Mode);

#[derive(Clone, Debug)]
enum Mode {
    /// Every request has this grant.
    Off(Grant),
    /// Every request to a name of this machine has this grant.
    Local(Grant),
    Required(Arc<Required>),
}

/// Settings of required authentication: credentials, sessions and four-eyes approval.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// Hash of the admin token, which has the role admin and every scope.
    pub admin: Option<SecretHash>,
    /// Lifetime of a session.
    pub session: Duration,
    /// Four-eyes approval: true when the caller who started a deployment may not switch it.
    pub four_eyes: bool,
    /// Verifies tokens of OpenID Connect issuers, which are accepted beside those of the database.
    pub oidc: Option<Verifier>,
}

#[derive(Debug)]
struct Required {
    options: AuthOptions,
    /// Grant of the admin token.
    admin: Option<Grant>,
    db: Db,
    cache: Arc<CredentialCache>,
    /// Opened sessions, by subject.
    session_rate: KeyedRate<String>,
    /// Limits the sign-ins of each client.
    sign_in_rate: KeyedRate<IpAddr>,
    /// Held while a ticket is used. The caller of a ticket is unknown until then, so all tickets share one connection.
    tickets: Semaphore,
}

/// The result of a successful authentication: a principal, and how long it stays authenticated.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Subject, role and scope of the caller.
    pub principal: Arc<Principal>,
    /// The cached credential, which a revocation ends; none where authentication is off.
    credential: Option<Arc<Credential>>,
    /// End of the grant; none when only a revocation ends it.
    until: Option<Instant>,
}

impl Grant {
    /// A grant that lasts until the principal's expiry. An issuer's clock set that time, not the database's, so it is compared with this machine's.
    fn of(principal: Principal) -> Self {
        let left = principal.expires_at.map(|at| (at - Utc::now()).to_std().unwrap_or_default());
        let until = left.and_then(|left| Instant::now().checked_add(left));
        Self { principal: Arc::new(principal), credential: None, until }
    }

    /// The grant of an issuer's verified token whose subject is not revoked.
    fn of_subject(principal: Principal, subject: Arc<Credential>) -> Self {
        Self { credential: Some(subject), ..Self::of(principal) }
    }

    fn by(credential: Arc<Credential>) -> Self {
        Self { principal: Arc::clone(&credential.principal), until: credential.until, credential: Some(credential) }
    }

    /// The grant of an unauthenticated stream, which receives no events.
    pub fn none() -> Self {
        Self::of(Principal::without_authentication().reading())
    }

    /// Hash of the token that the grant ends with; none for an issuer's token.
    pub fn credential(&self) -> Option<&SecretHash> {
        self.credential.as_ref().and_then(|credential| credential.token.as_ref())
    }

    /// Form in which the caller presented the credential.
    pub fn form(&self) -> CredentialForm {
        self.credential.as_ref().map_or(CredentialForm::Token, |credential| credential.form)
    }

    /// The same grant with the role of a viewer.
    fn reading(self) -> Self {
        Self { principal: Arc::new(Principal::clone(&self.principal).reading()), ..self }
    }

    /// Resolves when the grant is revoked; none when it cannot be revoked.
    pub fn ended(&self) -> Option<WaitForCancellationFutureOwned> {
        self.credential.as_ref().map(|credential| credential.ended.clone().cancelled_owned())
    }

    /// True once the grant is revoked.
    pub fn is_over(&self) -> bool {
        self.credential.as_ref().is_some_and(|credential| credential.is_over())
    }

    /// Remaining time of the grant, at most `longest`; none when neither ends it.
    pub fn lifetime(&self, longest: Option<Duration>) -> Option<Duration> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        left.into_iter().chain(longest).min()
    }
}

impl Auth {
    /// Accepts every request as an admin of all repositories.
    pub fn off() -> Self {
        Self(Mode::Off(Grant::of(Principal::without_authentication())))
    }

    /// Accepts every request that names this machine (`localhost`, a loopback address) as an admin. Requests to other names are refused: a foreign
    /// page can point its own name at this machine (DNS rebinding), and a browser then takes both for one origin; an unknown proxy can do the same.
    pub fn local() -> Self {
        Self(Mode::Local(Grant::of(Principal::without_authentication())))
    }

    /// Requires authentication: a token of the database, an issuer's token or the admin token. Rechecks cached credentials until `shutdown`.
    pub fn required(db: Db, options: AuthOptions, shutdown: &CancellationToken) -> Self {
        let finder = Finder::new(db.clone(), options.admin, options.oidc.clone());
        let cache = Arc::new(CredentialCache::new(finder, shutdown.clone()));
        let (refreshed, stop) = (Arc::clone(&cache), shutdown.clone());
        tokio::spawn(async move { stop.run_until_cancelled(refreshed.refresh_periodically()).await });
        let admin = options.admin.map(|hash| Grant::by(cache.permanent(hash, Principal::admin(hash.fingerprint()))));
        Self(Mode::Required(Arc::new(Required {
            options,
            admin,
            db,
            cache,
            session_rate: KeyedRate::new(rate::SESSIONS),
            sign_in_rate: KeyedRate::new(rate::SIGN_INS),
            tickets: Semaphore::new(1),
        })))
    }

    /// Lifetime of a session; none where authentication is not required, and so no session exists.
    pub fn session_lifetime(&self) -> Option<Duration> {
        match &self.0 {
            Mode::Off(_) | Mode::Local(_) => None,
            Mode::Required(required) => Some(required.options.session),
        }
    }

    /// Counts a session that `subject` opens. Limited because each session adds a row to the audit, which is kept.
    ///
    /// # Errors
    /// [`AccessError::TooManySessions`] when the subject opened too many.
    pub fn check_session_rate(&self, subject: &str) -> Result<(), AccessError> {
        match &self.0 {
            Mode::Off(_) | Mode::Local(_) => Ok(()),
            Mode::Required(required) => {
                required.session_rate.check(&subject.to_owned()).map_err(|wait| AccessError::TooManySessions { wait })
            }
        }
    }

    /// Counts a sign-in of a client, before its credential is looked up.
    ///
    /// # Errors
    /// [`AccessError::TooManySignIns`] when the client tried too often.
    pub fn check_sign_in_rate(&self, client: IpAddr) -> Result<(), AccessError> {
        match &self.0 {
            Mode::Off(_) | Mode::Local(_) => Ok(()),
            Mode::Required(required) => {
                required.sign_in_rate.check(&client).map_err(|wait| AccessError::TooManySignIns { wait })
            }
        }
    }

    /// The issuers with which the web page can sign in; none without any.
    pub fn sign_in(&self) -> Option<&Verifier> {
        match &self.0 {
            Mode::Off(_) | Mode::Local(_) => None,
            Mode::Required(required) => required.options.oidc.as_ref(),
        }
    }

    /// True when callers sign in, and so are distinguished.
    pub fn is_required(&self) -> bool {
        matches!(&self.0, Mode::Required(_))
    }

    /// True when the caller who started a deployment may not switch it.
    pub fn requires_four_eyes(&self) -> bool {
        matches!(&self.0, Mode::Required(required) if required.options.four_eyes)
    }

    /// Ends a session in this process immediately; other processes notice at their next refresh.
    pub fn end_session(&self, hash: &SecretHash) {
        if let Mode::Required(required) = &self.0 {
            required.cache.evict(&Key::Session(*hash));
        }
    }

    /// Names of the OpenID Connect issuers whose tokens are accepted.
    pub fn issuers(&self) -> Vec<&str> {
        match &self.0 {
            Mode::Off(_) | Mode::Local(_) => Vec::new(),
            Mode::Required(required) => required.options.oidc.iter().flat_map(Verifier::issuers).collect(),
        }
    }

    /// Ends the grants of an issuer's subject in this process immediately; other processes notice at their next refresh.
    pub fn end_subject(&self, name: &str) {
        if let Mode::Required(required) = &self.0 {
            required.cache.evict(&Key::Subject(name.to_owned()));
        }
    }

    /// Authenticates a request.
    ///
    /// # Errors
    /// [`AccessError::NotSignedIn`] without a valid credential; [`ApiError::Database`] when the database is unavailable and the credential is not
    /// cached.
    pub async fn grant(&self, parts: &Parts) -> Result<Grant, ApiError> {
        match &self.0 {
            Mode::Off(grant) => Ok(grant.clone()),
            Mode::Local(grant) if headers::names_this_machine(&parts.headers) => Ok(grant.clone()),
            Mode::Local(_) => Err(AccessError::NotSignedIn(message!("NOT_SIGNED_IN.local_only")).into()),
            Mode::Required(required) => required.grant(parts).await,
        }
    }

    /// Authenticates by a token itself, as from the header of a request.
    ///
    /// # Errors
    /// As [`Self::grant`].
    pub async fn grant_of_token(&self, token: &str) -> Result<Grant, ApiError> {
        match &self.0 {
            Mode::Off(grant) | Mode::Local(grant) => Ok(grant.clone()),
            Mode::Required(required) => required.of_token(token).await,
        }
    }

    /// Authenticates a subject that its issuer vouched for.
    ///
    /// # Errors
    /// [`AccessError::NotSignedIn`] when the subject is revoked.
    pub async fn grant_of_subject(&self, principal: Principal) -> Result<Grant, ApiError> {
        match &self.0 {
            Mode::Off(grant) | Mode::Local(grant) => Ok(grant.clone()),
            Mode::Required(required) => required.accepted_subject(principal).await,
        }
    }

    /// Authenticates a request that may carry a ticket for `deployment` instead, or for all deployments where it is none.
    ///
    /// # Errors
    /// As [`Self::grant`].
    pub async fn grant_or_ticket(&self, parts: &Parts, deployment: Option<&str>) -> Result<Grant, ApiError> {
        let ticket = headers::ticket(parts.uri.query());
        match (&self.0, ticket) {
            (Mode::Required(required), Some(ticket)) if headers::bearer(&parts.headers)?.is_none() => {
                required.ticket(&ticket, deployment).await
            }
            _ => self.grant(parts).await,
        }
    }
}

impl Required {
    async fn grant(&self, parts: &Parts) -> Result<Grant, ApiError> {
        match (headers::bearer(&parts.headers)?, headers::session(&parts.headers)) {
            (Some(token), _) => self.of_token(token).await,
            (None, Some(session)) => self.of_session(session, parts).await,
            (None, None) => Err(AccessError::NotSignedIn(message!("NOT_SIGNED_IN.no_header")).into()),
        }
    }

    async fn of_token(&self, token: &str) -> Result<Grant, ApiError> {
        if let Some(oidc) = self.options.oidc.as_ref().filter(|_| Verifier::is_jwt(token)) {
            return self.accepted_subject(oidc.verify(token).await?).await;
        }
        let unknown = AccessError::NotSignedIn(message!("NOT_SIGNED_IN.unknown_token"));
        let hash = SecretHash::of(token);
        // Only the admin token may have any form.
        if !token::has_form(token::PREFIX, token) && self.admin_grant(&hash).is_none() {
            return Err(unknown.into());
        }
        self.token(hash).await?.ok_or_else(|| unknown.into())
    }

    /// The grant of a session's cookie, for a request of the page that it comes from.
    async fn of_session(&self, session: &str, parts: &Parts) -> Result<Grant, ApiError> {
        let refused = |reason| ApiError::from(AccessError::NotSignedIn(reason));
        let ended = || refused(message!("NOT_SIGNED_IN.session_ended"));
        if !token::has_form(token::SESSION_PREFIX, session) {
            return Err(ended());
        }
        let credential = self.cache.get(Key::Session(SecretHash::of(session))).await?;
        let grant = credential.map(Grant::by).ok_or_else(ended)?;
        let origin = parts.extensions.get::<PageOrigin>().copied().unwrap_or_default();
        match (parts.method.clone(), origin) {
            (Method::GET | Method::HEAD, PageOrigin::Foreign) => Ok(grant.reading()),
            (Method::GET | Method::HEAD, _) => Ok(grant),
            _ if grant.form() == CredentialForm::ReadingSession => {
                Err(refused(message!("NOT_SIGNED_IN.session_reads")))
            }
            (_, PageOrigin::Own) => Ok(grant),
            _ => Err(refused(message!("NOT_SIGNED_IN.not_own_page"))),
        }
    }

    async fn accepted_subject(&self, principal: Principal) -> Result<Grant, ApiError> {
        let revoked = || AccessError::NotSignedIn(message!("NOT_SIGNED_IN.revoked")).into();
        self.subject(principal).await?.ok_or_else(revoked)
    }

    /// The grant of an issuer's verified token; none when its subject is revoked.
    async fn subject(&self, principal: Principal) -> Result<Option<Grant>, ApiError> {
        let credential = self.cache.subject(&principal).await?;
        Ok(credential.map(|credential| Grant::of_subject(principal, credential)))
    }

    /// The grant of the admin token; none when `hash` is not that token's.
    fn admin_grant(&self, hash: &SecretHash) -> Option<&Grant> {
        self.admin.as_ref().filter(|admin| admin.credential().is_some_and(|admin| admin.is(hash)))
    }

    /// The grant of a token; none when it is not valid.
    async fn token(&self, hash: SecretHash) -> Result<Option<Grant>, ApiError> {
        if let Some(admin) = self.admin_grant(&hash) {
            return Ok(Some(admin.clone()));
        }
        Ok(self.cache.get(Key::Token(hash)).await?.map(Grant::by))
    }

    async fn ticket(&self, ticket: &str, deployment: Option<&str>) -> Result<Grant, ApiError> {
        let refused = || ApiError::from(AccessError::NotSignedIn(message!("NOT_SIGNED_IN.bad_ticket")));
        if !token::has_form(token::TICKET_PREFIX, ticket) {
            return Err(refused());
        }
        let used = {
            // The semaphore is never closed.
            let _one = self.tickets.acquire().await;
            redeem_ticket(&self.db, &SecretHash::of(ticket), deployment).await?.ok_or_else(refused)?
        };
        match used.credential {
            // The token's present state decides, not its state when the ticket was made.
            Some(credential) => self.token(credential).await?.ok_or_else(refused),
            // The ticket was made before authentication was required.
            None if used.principal.kind == AuthMethod::Nobody => Err(refused()),
            None => self.subject(used.principal).await?.ok_or_else(refused),
        }
    }
}
