//! The permission that a schedule acts with: its owner, and the state of the owner's credentials.

use serde_json::Value;
use sqlx::PgConnection;

use crate::db::{Db, DbError};
use crate::domain::permission::{PermissionEnd, StoredBasis, StoredPermission, TokenState};
use crate::domain::permission_basis::{Basis, Identity};
use crate::domain::principal::{Principal, Scope};
use crate::domain::token::SecretHash;

/// Schedules checked against the sign-in settings in one statement.
const PAGE_SIZE: i64 = 200;

/// Selects the schedules to stop.
#[derive(Clone, Copy, Debug)]
pub enum ScheduleSelector<'a> {
    /// The schedule with this id.
    Id(&'a str),
    /// All schedules whose owner is this API token.
    Token(&'a str),
    /// All schedules whose owner is this subject of an issuer, by its principal name.
    Subject(&'a str),
}

/// Stored permission of a schedule or push hook: its owner and the state of the owner's credentials.
#[derive(Clone, Debug)]
pub struct PermissionRow {
    /// Id of the schedule or push hook.
    pub id: String,
    pub(in crate::db) made_by: String,
    pub(in crate::db) made_by_kind: String,
    pub(in crate::db) made_by_token: Option<String>,
    pub(in crate::db) made_by_admin: Option<Vec<u8>>,
    pub(in crate::db) made_by_issuer: Option<String>,
    pub(in crate::db) made_by_claims: Option<Value>,
    pub(in crate::db) role: String,
    pub(in crate::db) scope: Option<Vec<String>>,
    pub(in crate::db) token_role: Option<String>,
    pub(in crate::db) token_scope: Option<Vec<String>>,
    pub(in crate::db) token_revoked: Option<bool>,
    pub(in crate::db) token_expired: Option<bool>,
    pub(in crate::db) subject_revoked: bool,
}

/// Returns the columns for the basis of a principal's permission: fingerprint of the admin token, issuer and claims.
pub(in crate::db) fn columns(principal: &Principal) -> (Option<&[u8]>, Option<&str>, Option<Value>) {
    match &principal.basis {
        Basis::Kind => (None, None, None),
        Basis::Admin(fingerprint) => (Some(fingerprint.bytes()), None, None),
        Basis::Oidc(identity) => (None, Some(&identity.issuer), Some(Value::Object(identity.claims.clone()))),
    }
}

/// A schedule that was stopped.
#[derive(Clone, Debug)]
pub struct StoppedRow {
    /// Id of the schedule.
    pub id: String,
    /// Account or organisation of its source.
    pub owner: String,
    /// Repository of its source.
    pub repo: String,
}

impl Db {
    /// Lists the permissions of active schedules, by id after `after`; empty at the end.
    pub async fn active_permissions(&self, after: &str) -> Result<Vec<PermissionRow>, DbError> {
        Ok(sqlx::query_as!(
            PermissionRow,
            "SELECT s.id, s.made_by, s.made_by_kind, s.made_by_token, s.made_by_admin, s.made_by_issuer, s.made_by_claims, s.role, s.scope,
                    t.role AS \"token_role?\", t.scope AS \"token_scope?\", t.revoked_at IS NOT NULL AS token_revoked,
                    t.expires_at <= clock_timestamp() AS token_expired, r.id IS NOT NULL AS \"subject_revoked!\"
             FROM schedules s
             LEFT JOIN api_tokens t ON s.made_by_kind = 'token' AND t.id = s.made_by_token
             LEFT JOIN revoked_subjects r ON s.made_by_kind = 'oidc' AND r.principal = s.made_by
             WHERE s.next_run_at IS NOT NULL AND s.id > $1 ORDER BY s.id LIMIT $2",
            after,
            PAGE_SIZE
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

/// Locks an active schedule; false when it is not active, or when another transaction holds it.
pub async fn lock_active(connection: &mut PgConnection, id: &str) -> Result<bool, DbError> {
    let locked =
        sqlx::query!("SELECT FROM schedules WHERE id = $1 AND next_run_at IS NOT NULL FOR UPDATE SKIP LOCKED", id);
    Ok(locked.fetch_optional(connection).await?.is_some())
}

/// Reads the permission of a schedule whose row the caller has locked.
pub async fn held(connection: &mut PgConnection, id: &str) -> Result<StoredPermission, DbError> {
    let row = sqlx::query_as!(
        PermissionRow,
        "SELECT s.id, s.made_by, s.made_by_kind, s.made_by_token, s.made_by_admin, s.made_by_issuer, s.made_by_claims, s.role, s.scope,
                t.role AS \"token_role?\", t.scope AS \"token_scope?\", t.revoked_at IS NOT NULL AS token_revoked,
                t.expires_at <= clock_timestamp() AS token_expired, r.id IS NOT NULL AS \"subject_revoked!\"
         FROM schedules s
         LEFT JOIN api_tokens t ON s.made_by_kind = 'token' AND t.id = s.made_by_token
         LEFT JOIN revoked_subjects r ON s.made_by_kind = 'oidc' AND r.principal = s.made_by
         WHERE s.id = $1",
        id
    )
    .fetch_one(connection)
    .await?;
    row.held()
}

/// Stops schedules that have not stopped yet, each with a run that has the reason.
pub async fn stop(
    connection: &mut PgConnection,
    which: ScheduleSelector<'_>,
    ended: &PermissionEnd,
) -> Result<Vec<StoppedRow>, DbError> {
    let (id, token, subject) = match which {
        ScheduleSelector::Id(id) => (Some(id), None, None),
        ScheduleSelector::Token(token) => (None, Some(token), None),
        ScheduleSelector::Subject(subject) => (None, None, Some(subject)),
    };
    Ok(sqlx::query_as!(
        StoppedRow,
        "WITH stopped AS (
             UPDATE schedules SET stopped_at = clock_timestamp(), stopped_code = $4, stopped_reason = $5, stopped_text = $6, next_run_at = NULL, version = version + 1
             WHERE deleted_at IS NULL AND (stopped_at IS NULL OR next_run_at IS NOT NULL)
               AND (id = $1 OR (made_by_kind = 'token' AND made_by_token = $2) OR (made_by_kind = 'oidc' AND made_by = $3))
             RETURNING id, owner, repo, stopped_at
         ), run AS (
             INSERT INTO schedule_runs (schedule_id, due_at, result, error_code, error_message, error_text)
             SELECT id, stopped_at, 'failed', $4, $5, $6 FROM stopped ON CONFLICT DO NOTHING
         )
         SELECT id, owner, repo FROM stopped ORDER BY id",
        id,
        token,
        subject,
        ended.code(),
        ended.message().to_string(),
        ended.message().to_json()
    )
    .fetch_all(connection)
    .await?)
}

impl PermissionRow {
    /// Reads the stored columns.
    ///
    /// # Errors
    /// [`DbError::Corrupt`] when they contradict each other.
    pub fn held(self) -> Result<StoredPermission, DbError> {
        let on = match self.made_by_kind.as_str() {
            "token" => {
                let id = self.made_by_token.unwrap_or_default();
                let state = match (self.token_role, self.token_revoked, self.token_expired) {
                    (None, _, _) => TokenState::Removed,
                    (Some(_), Some(true), _) => TokenState::Revoked,
                    (Some(_), _, Some(true)) => TokenState::Expired,
                    (Some(role), ..) => {
                        TokenState::Valid(role.parse().map_err(DbError::corrupt)?, Scope::from_sql(self.token_scope))
                    }
                };
                StoredBasis::Token(id, state)
            }
            "admin" => StoredBasis::Admin(
                self.made_by_admin
                    .as_deref()
                    .and_then(SecretHash::from_sql)
                    .ok_or_else(|| incomplete("an admin token"))?,
            ),
            "oidc" => {
                let (Some(issuer), Some(Value::Object(claims))) = (self.made_by_issuer, self.made_by_claims) else {
                    return Err(incomplete("an OpenID Connect identity"));
                };
                StoredBasis::Oidc { identity: Identity { issuer, claims }, revoked: self.subject_revoked }
            }
            "nobody" => StoredBasis::Nobody,
            other => return Err(DbError::Corrupt(format!("owner of unknown kind {other:?}"))),
        };
        let role = self.role.parse().map_err(DbError::corrupt)?;
        Ok(StoredPermission { subject: self.made_by, on, role, scope: Scope::from_sql(self.scope) })
    }
}

fn incomplete(basis: &str) -> DbError {
    DbError::Corrupt(format!("owner by {basis} that is not stored completely"))
}
