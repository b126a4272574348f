//! Browser sessions and stream tickets. Both are stored by their hashes, and both end with the token that created them.
//!
//! A session's role and scope are its token's present ones. Those of an issuer's subject follow from its stored claims and the present rules, which
//! the caller applies (`http/auth/credential_lookup`).

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::tokens::{Accepted, CredentialForm, seconds};
use super::{Db, DbError};
use crate::domain::permission_basis::{Basis, Identity};
use crate::domain::principal::{AuthMethod, Principal, Scope};
use crate::domain::token::SecretHash;

/// Lifetime of a ticket, in seconds.
const TICKET_TTL_SECONDS: f64 = 30.0;

/// Values of a new session.
#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    /// Hash of the cookie's value.
    pub hash: &'a SecretHash,
    /// The token that opens the session and ends it; none for an issuer's subject.
    pub credential: Option<&'a SecretHash>,
    /// Principal that the session authenticates.
    pub principal: &'a Principal,
    /// True when the session may do what its role allows, false when it may only read.
    pub writes: bool,
    /// Longest duration; the principal's expiry may end it earlier.
    pub lasts: Duration,
}

/// A ticket that was used.
#[derive(Clone, Debug)]
pub struct UsedTicket {
    /// The token that created the ticket; none when only the ticket's expiry ends it.
    pub credential: Option<SecretHash>,
    /// Principal that the ticket authenticates.
    pub principal: Principal,
}

impl Db {
    /// Returns the principals of the sessions with these hashes. Expired sessions, and those whose token is no longer accepted, are left out. `admin`
    /// is the hash of the present admin token.
    pub async fn session_principals(
        &self,
        hashes: &[SecretHash],
        admin: Option<&SecretHash>,
    ) -> Result<Vec<Accepted>, DbError> {
        let hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.bytes().to_vec()).collect();
        let rows = sqlx::query!(
            "SELECT session_hash, credential, principal, identity, writes, s.expires_at, t.role AS \"role?\", t.scope AS \"scope?\",
                    extract(epoch FROM s.expires_at - clock_timestamp())::float8 AS \"left!\"
             FROM sessions s
             LEFT JOIN api_tokens t
                ON t.token_hash = s.credential AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
             WHERE session_hash = ANY ($1) AND s.expires_at > now()
               AND (credential IS NULL OR credential = $2 OR t.id IS NOT NULL)
               AND NOT (principal->>'kind' = 'oidc' AND EXISTS (
                   SELECT FROM revoked_subjects r WHERE r.principal = s.principal->>'subject'))",
            &hashes,
            admin.map(SecretHash::bytes)
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let token = row.credential.as_deref().map(hash).transpose()?;
                let mut principal = Principal { expires_at: Some(row.expires_at), ..read(row.principal)? };
                if let Some(role) = row.role {
                    principal.role = role.parse().map_err(DbError::corrupt)?;
                    principal.scope = Scope::from_sql(row.scope);
                }
                principal.basis = basis(&principal.kind, token.as_ref(), row.identity)?;
                let form = if row.writes { CredentialForm::PageSession } else { CredentialForm::ReadingSession };
                let principal = if row.writes { principal } else { principal.reading() };
                let left = Some(seconds(row.left));
                Ok(Accepted { hash: hash(&row.session_hash)?, token, form, principal, left })
            })
            .collect()
    }

    /// Stores a ticket for the stream of a deployment, or of all when none is given, and returns its end. None when the deployment does not exist in
    /// the principal's scope.
    pub async fn insert_ticket(
        &self,
        hash: &SecretHash,
        deployment_id: Option<&str>,
        credential: Option<&SecretHash>,
        principal: &Principal,
    ) -> Result<Option<DateTime<Utc>>, DbError> {
        Ok(sqlx::query_scalar!(
            "INSERT INTO stream_tickets (ticket_hash, deployment_id, credential, principal, expires_at)
             SELECT $1, $2, $3, $4, least(now() + make_interval(secs => $5), $7)
             WHERE $2::text IS NULL OR EXISTS (SELECT FROM deployments WHERE id = $2 AND in_scope(owner, repo, $6))
             RETURNING expires_at",
            hash.bytes(),
            deployment_id,
            credential.map(SecretHash::bytes),
            stored(principal)?,
            TICKET_TTL_SECONDS,
            principal.scope.sql(),
            principal.expires_at
        )
        .fetch_optional(&self.pool)
        .await?)
    }

    /// Consumes a ticket; none when there is no such ticket for this stream. Only the first replica that asks gets it.
    pub async fn use_ticket(
        &self,
        ticket: &SecretHash,
        deployment_id: Option<&str>,
    ) -> Result<Option<UsedTicket>, DbError> {
        let row = sqlx::query!(
            "DELETE FROM stream_tickets
             WHERE ticket_hash = $1 AND deployment_id IS NOT DISTINCT FROM $2 AND expires_at > now()
             RETURNING credential, principal",
            ticket.bytes(),
            deployment_id
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            let credential = row.credential.as_deref().map(hash).transpose()?;
            Ok(UsedTicket { credential, principal: read(row.principal)? })
        })
        .transpose()
    }

    /// Deletes expired sessions and tickets and returns their number.
    pub async fn delete_expired_sessions(&self) -> Result<u64, DbError> {
        let sessions = sqlx::query!("DELETE FROM sessions WHERE expires_at < now()").execute(&self.pool).await?;
        let tickets = sqlx::query!("DELETE FROM stream_tickets WHERE expires_at < now()").execute(&self.pool).await?;
        Ok(sessions.rows_affected() + tickets.rows_affected())
    }
}

/// Inserts a session by its hash. Returns its end, and the time until then.
pub async fn insert(connection: &mut PgConnection, new: &NewSession<'_>) -> Result<(DateTime<Utc>, Duration), DbError> {
    let identity = match &new.principal.basis {
        Basis::Oidc(identity) => Some(serde_json::to_value(&**identity).map_err(|error| corrupt(&error))?),
        Basis::Kind | Basis::Admin(_) => None,
    };
    let session = sqlx::query!(
        "INSERT INTO sessions (session_hash, credential, principal, identity, writes, expires_at)
             VALUES ($1, $2, $3, $4, $5, least(now() + make_interval(secs => $6), $7))
             RETURNING expires_at, extract(epoch FROM expires_at - now())::float8 AS \"left!\"",
        new.hash.bytes(),
        new.credential.map(SecretHash::bytes),
        stored(new.principal)?,
        identity,
        new.writes,
        new.lasts.as_secs_f64(),
        new.principal.expires_at
    )
    .fetch_one(connection)
    .await?;
    Ok((session.expires_at, seconds(session.left)))
}

/// Deletes a session and returns its principal; none when there is no such session.
pub async fn delete(connection: &mut PgConnection, hash: &SecretHash) -> Result<Option<Principal>, DbError> {
    let gone = sqlx::query_scalar!("DELETE FROM sessions WHERE session_hash = $1 RETURNING principal", hash.bytes());
    gone.fetch_optional(connection).await?.map(read).transpose()
}

/// The basis of a session's permission, which schedules created with it store.
fn basis(kind: &AuthMethod, token: Option<&SecretHash>, identity: Option<Value>) -> Result<Basis, DbError> {
    Ok(match (kind, token, identity) {
        (AuthMethod::Admin, Some(token), _) => Basis::Admin(token.fingerprint()),
        (AuthMethod::Oidc, _, Some(identity)) => {
            let identity: Identity = serde_json::from_value(identity).map_err(|error| corrupt(&error))?;
            Basis::Oidc(Arc::new(identity))
        }
        _ => Basis::Kind,
    })
}

fn stored(principal: &Principal) -> Result<Value, DbError> {
    serde_json::to_value(principal).map_err(|error| corrupt(&error))
}

fn corrupt(error: &serde_json::Error) -> DbError {
    DbError::Corrupt(error.to_string())
}

fn read(principal: Value) -> Result<Principal, DbError> {
    serde_json::from_value(principal).map_err(|error| DbError::Corrupt(format!("unreadable principal: {error}")))
}

fn hash(bytes: &[u8]) -> Result<SecretHash, DbError> {
    SecretHash::from_sql(bytes).ok_or_else(|| DbError::Corrupt("token hash of a wrong length".to_owned()))
}
