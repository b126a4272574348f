//! Stopping of schedules whose permission has ended: each gets a run with the reason, and stays stopped until a caller takes it over.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::record;
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::permission::{PermissionEnd, SignIn, StoredBasis, StoredPermission, TokenState};
use crate::domain::permission_basis::{Basis, Identity};
use crate::domain::principal::{Caller, Principal, Scope, schedule_subject};
use crate::domain::token::SecretHash;

/// Schedules checked against the sign-in settings in one statement.
const PAGE_SIZE: i64 = 200;

/// A schedule that starts nothing more until a caller takes it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedSchedule {
    /// Id of the schedule.
    pub schedule: String,
    /// Reason for which it stopped.
    pub ended: PermissionEnd,
}

/// Selects the schedules to stop.
#[derive(Clone, Copy, Debug)]
pub(in crate::db) enum ScheduleSelector<'a> {
    Id(&'a str),
    /// All schedules whose owner is this API token.
    Token(&'a str),
    /// All schedules whose owner is this subject of an issuer, by its principal name.
    Subject(&'a str),
}

/// Stored permission of a schedule: its owner and the state of the owner's credentials.
struct PermissionRow {
    id: String,
    made_by: String,
    made_by_kind: String,
    made_by_token: Option<String>,
    made_by_admin: Option<Vec<u8>>,
    made_by_issuer: Option<String>,
    made_by_claims: Option<Value>,
    role: String,
    scope: Option<Vec<String>>,
    token_role: Option<String>,
    token_scope: Option<Vec<String>>,
    token_revoked: Option<bool>,
    token_expired: Option<bool>,
    subject_revoked: bool,
}

/// Returns the columns for the basis of a principal's permission: fingerprint of the admin token, issuer and claims.
pub(super) fn columns(principal: &Principal) -> (Option<&[u8]>, Option<&str>, Option<Value>) {
    match &principal.basis {
        Basis::Kind => (None, None, None),
        Basis::Admin(fingerprint) => (Some(fingerprint.bytes()), None, None),
        Basis::Oidc(identity) => (None, Some(&identity.issuer), Some(Value::Object(identity.claims.clone()))),
    }
}

impl Db {
    /// Stops schedules whose permission has ended, whenever they are due next.
    pub async fn stop_schedules_without_permission(&self, sign_in: &SignIn) -> Result<Vec<StoppedSchedule>, DbError> {
        if let Some(admin) = sign_in.admin.as_ref().filter(|_| sign_in.required) {
            // Completes rows from before fingerprints were stored.
            sqlx::query!(
                "UPDATE schedules SET made_by_admin = $1 WHERE made_by_kind = 'admin' AND made_by_admin IS NULL AND next_run_at IS NOT NULL",
                admin.bytes()
            )
            .execute(&self.pool)
            .await?;
        }
        let (mut stopped, mut after) = (Vec::new(), String::new());
        loop {
            let rows = self.active(&after).await?;
            let Some(last) = rows.last() else { return Ok(stopped) };
            after.clone_from(&last.id);
            for row in rows {
                let id = row.id.clone();
                match row.held() {
                    Ok(held) if sign_in.ended(&held).is_some() => stopped.extend(self.stop_ended(&id, sign_in).await?),
                    Ok(_) => {}
                    // Such a schedule is not run either, and its next run records the error.
                    Err(error) => tracing::warn!(%error, schedule = id, "schedule permission unreadable, not checked"),
                }
            }
        }
    }

    async fn active(&self, after: &str) -> Result<Vec<PermissionRow>, DbError> {
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

    /// Checks again with the row locked: a caller may have taken the schedule over meanwhile, or another replica may be stopping it.
    async fn stop_ended(&self, id: &str, sign_in: &SignIn) -> Result<Option<StoppedSchedule>, DbError> {
        let mut tx = self.pool.begin().await?;
        let locked =
            sqlx::query!("SELECT FROM schedules WHERE id = $1 AND next_run_at IS NOT NULL FOR UPDATE SKIP LOCKED", id);
        if locked.fetch_optional(&mut *tx).await?.is_none() {
            return Ok(None);
        }
        let held = held(&mut tx, id).await?;
        let Some(ended) = sign_in.ended(&held) else { return Ok(None) };
        let by = Caller::schedule(id, held.role, held.scope);
        stop(&mut tx, ScheduleSelector::Id(id), &ended, &by).await?;
        tx.commit().await?;
        Ok(Some(StoppedSchedule { schedule: id.to_owned(), ended }))
    }
}

/// Reads the permission of a schedule whose row the caller has locked.
pub(super) async fn held(connection: &mut PgConnection, id: &str) -> Result<StoredPermission, DbError> {
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

/// Stops schedules that have not stopped yet and returns their ids. Each gets a run with the reason, and an entry in the audit log.
pub(in crate::db) async fn stop(
    connection: &mut PgConnection,
    which: ScheduleSelector<'_>,
    ended: &PermissionEnd,
    by: &Caller,
) -> Result<Vec<String>, DbError> {
    let (id, token, subject) = match which {
        ScheduleSelector::Id(id) => (Some(id), None, None),
        ScheduleSelector::Token(token) => (None, Some(token), None),
        ScheduleSelector::Subject(subject) => (None, None, Some(subject)),
    };
    let rows = sqlx::query!(
        "WITH stopped AS (
             UPDATE schedules SET stopped_at = clock_timestamp(), stopped_code = $4, stopped_reason = $5, next_run_at = NULL, version = version + 1
             WHERE deleted_at IS NULL AND (stopped_at IS NULL OR next_run_at IS NOT NULL)
               AND (id = $1 OR (made_by_kind = 'token' AND made_by_token = $2) OR (made_by_kind = 'oidc' AND made_by = $3))
             RETURNING id, owner, repo, stopped_at
         ), run AS (
             INSERT INTO schedule_runs (schedule_id, due_at, result, error_code, error_message)
             SELECT id, stopped_at, 'failed', $4, $5 FROM stopped ON CONFLICT DO NOTHING
         )
         SELECT id, owner, repo FROM stopped ORDER BY id",
        id,
        token,
        subject,
        ended.code(),
        ended.message()
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let details = json!({"code": ended.code(), "reason": ended.message()});
        record(connection, by, Action::StopSchedule, &row.id, (&row.owner, &row.repo), details).await?;
    }
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Requests the cancellation of queued deployments of a principal, or of these schedules, and returns their ids. Running deployments continue:
/// stopping one halfway is a separate decision.
pub(in crate::db) async fn cancel_queued(
    connection: &mut PgConnection,
    kind: &str,
    subject: &str,
    token: Option<&str>,
    schedules: &[String],
) -> Result<Vec<String>, DbError> {
    let schedules: Vec<String> = schedules.iter().map(|id| schedule_subject(id)).collect();
    Ok(sqlx::query_scalar!(
        "UPDATE deployments d SET cancel_requested_at = now()
         WHERE d.queued AND d.status = 'RUNNING' AND d.cancel_requested_at IS NULL
           AND (d.started_by = ANY ($4) OR (d.started_by = $2 AND EXISTS (
                SELECT FROM audit a WHERE a.target = d.id AND a.action IN ('deploy', 'retry') AND a.result = 'done'
                  AND a.kind = $1 AND a.subject = $2 AND ($3::text IS NULL OR a.token_id = $3))))
         RETURNING d.id",
        kind,
        subject,
        token,
        &schedules
    )
    .fetch_all(connection)
    .await?)
}

impl PermissionRow {
    fn held(self) -> Result<StoredPermission, DbError> {
        let on = match self.made_by_kind.as_str() {
            "token" => {
                let id = self.made_by_token.unwrap_or_default();
                let state = match (self.token_role, self.token_revoked, self.token_expired) {
                    (None, _, _) => TokenState::Removed,
                    (Some(_), Some(true), _) => TokenState::Revoked,
                    (Some(_), _, Some(true)) => TokenState::Expired,
                    (Some(role), ..) => {
                        TokenState::Valid(role.parse().map_err(DbError::Corrupt)?, Scope::from_sql(self.token_scope))
                    }
                };
                StoredBasis::Token(id, state)
            }
            "admin" => StoredBasis::Admin(self.made_by_admin.as_deref().and_then(SecretHash::from_sql)),
            "oidc" => {
                let identity = match (self.made_by_issuer, self.made_by_claims) {
                    (Some(issuer), Some(Value::Object(claims))) => Some(Identity { issuer, claims }),
                    (None, None) => None,
                    _ => {
                        return Err(DbError::Corrupt(
                            "schedule owner with an incomplete OpenID Connect identity".to_owned(),
                        ));
                    }
                };
                StoredBasis::Oidc { identity, revoked: self.subject_revoked }
            }
            "nobody" => StoredBasis::Nobody,
            other => return Err(DbError::Corrupt(format!("schedule owner of unknown kind {other:?}"))),
        };
        let role = self.role.parse().map_err(DbError::Corrupt)?;
        Ok(StoredPermission { subject: self.made_by, on, role, scope: Scope::from_sql(self.scope) })
    }
}
