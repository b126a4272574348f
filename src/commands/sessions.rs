//! Browser sessions and stream tickets: credentials derived from the caller's own. Both end with the token that created them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::access::require_role;
use super::error::CommandError;
use crate::db::audit::{self, AuditRecord};
use crate::db::sessions::{self, NewSession, UsedTicket};
use crate::db::{Db, DbError, PgConnection};
use crate::domain::audit::Action;
use crate::domain::principal::{Caller, Principal, Role};
use crate::domain::token::SecretHash;

/// A session to be opened for a caller.
#[derive(Clone, Copy, Debug)]
pub struct SessionRequest<'a> {
    /// Hash of the cookie's value.
    pub hash: &'a SecretHash,
    /// The token that opens the session; none for an issuer's subject.
    pub credential: Option<&'a SecretHash>,
    /// True for the web page's sign-in: the session may do what the caller's role allows. False: it may only read.
    pub writes: bool,
    /// Longest duration; the permission may end it earlier.
    pub lasts: Duration,
}

/// Stores a session by its hash. Returns its end, and the time until then.
///
/// # Errors
/// The database cannot be written.
pub async fn open_session(
    db: &Db,
    request: SessionRequest<'_>,
    by: &Caller,
) -> Result<(DateTime<Utc>, Duration), CommandError> {
    require_role(by, Role::Viewer)?;
    let SessionRequest { hash, credential, writes, lasts } = request;
    let mut tx = db.begin().await?;
    let new = NewSession { hash, credential, principal: &by.principal, writes, lasts };
    let (expires_at, left) = sessions::insert(&mut tx, &new).await?;
    record(&mut tx, by, Action::OpenSession, json!({"expiresAt": expires_at, "writes": writes})).await?;
    tx.commit().await?;
    Ok((expires_at, left))
}

/// Ends a session; possession of its cookie is sufficient. `by` supplies the origin of the request, and the audit entry names the session's
/// principal.
///
/// # Errors
/// The database cannot be written.
pub async fn close_session(db: &Db, hash: &SecretHash, by: &Caller) -> Result<(), DbError> {
    let mut tx = db.begin().await?;
    if let Some(principal) = sessions::delete(&mut tx, hash).await? {
        let by = &Caller { principal: Arc::new(principal), ..by.clone() };
        record(&mut tx, by, Action::CloseSession, json!({})).await?;
    }
    tx.commit().await
}

async fn record(tx: &mut PgConnection, by: &Caller, action: Action, details: Value) -> Result<(), DbError> {
    audit::record(tx, &AuditRecord { by, action, target: None, repository: None, refused: None, details })
        .await
        .map(drop)
}

/// Stores a ticket for the stream of a deployment, or of all when none is given, and returns its end. None when the deployment does not exist in the
/// principal's scope.
///
/// # Errors
/// The database cannot be written.
pub async fn issue_ticket(
    db: &Db,
    ticket: &SecretHash,
    deployment: Option<&str>,
    credential: Option<&SecretHash>,
    principal: &Principal,
) -> Result<Option<DateTime<Utc>>, DbError> {
    db.insert_ticket(ticket, deployment, credential, principal).await
}

/// Consumes a ticket; none when there is no such ticket for this stream. Only the first replica that asks gets it.
///
/// # Errors
/// The database cannot be written.
pub async fn redeem_ticket(
    db: &Db,
    ticket: &SecretHash,
    deployment: Option<&str>,
) -> Result<Option<UsedTicket>, DbError> {
    db.use_ticket(ticket, deployment).await
}
