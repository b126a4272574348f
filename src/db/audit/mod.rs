//! The audit log: rows are added, in the transaction of the change where there is one, and never changed.

mod pages;

use std::time::Instant;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::principal::{AuthMethod, Caller};
use crate::domain::refusals::{EVERYONE_ELSE, RefusedAction, Tally};

/// An action to record.
#[derive(Clone, Debug)]
pub struct AuditRecord<'a> {
    /// The caller, and where the request came from.
    pub by: &'a Caller,
    /// Requested action, carried out or refused.
    pub action: Action,
    /// Id of the deployment, connection or token.
    pub target: Option<&'a str>,
    /// Owner and name of the repository; none for that of the deployment.
    pub repository: Option<(&'a str, &'a str)>,
    /// Error code of the refusal; none when the action was carried out.
    pub refused: Option<&'a str>,
    /// Further details; never a secret.
    pub details: Value,
}

/// A row of the audit log as it may be shown.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct AuditView {
    pub id: i64,
    pub at: DateTime<Utc>,
    pub times: i32,
    pub first_at: Option<DateTime<Utc>>,
    pub request_id: Option<String>,
    pub address: Option<String>,
    pub subject: String,
    pub kind: String,
    pub token_id: Option<String>,
    pub role: String,
    pub action: String,
    pub target: Option<String>,
    pub owner: Option<String>,
    pub repo: Option<String>,
    pub result: String,
    pub error_code: Option<String>,
    pub details: Value,
}

/// Filter of the audit log.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only actions of this subject.
    pub subject: Option<String>,
    /// Only this action, in either result.
    pub action: Option<Action>,
    /// Only actions on this deployment, connection or token.
    pub target: Option<String>,
    /// Recorded at or after this time.
    pub since: Option<DateTime<Utc>>,
    /// Recorded before this time.
    pub until: Option<DateTime<Utc>>,
    /// Only rows before this id.
    pub before: Option<i64>,
    /// Maximum number of rows.
    pub limit: i64,
}

impl Db {
    /// Records an action that changed nothing in this database, or whose rows were changed one by one.
    pub async fn record_audit(&self, entry: &AuditRecord<'_>) -> Result<(), DbError> {
        record(&mut *self.pool.acquire().await?, entry).await?;
        Ok(())
    }

    /// Records refusals, one row for each tally: `audit.times` holds the number that the row stands for.
    pub async fn record_refusals(&self, tallies: &[Tally]) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        for tally in tallies {
            let RefusedAction { by, action, target, code, details } = &tally.last;
            let principal = &by.principal;
            let token_id = if let AuthMethod::Token(id) = &principal.kind { Some(id.as_str()) } else { None };
            // All rows use the database's clock.
            let ago = |at: Instant| at.elapsed().as_secs_f64();
            let one = !tally.several_callers;
            sqlx::query!(
                "INSERT INTO audit (at, times, first_at, request_id, address, subject, kind, token_id, role, action, target, owner, repo, result,
                                    error_code, details)
                 SELECT clock_timestamp() - make_interval(secs => $1), $2, clock_timestamp() - make_interval(secs => $3),
                        $4, $5, $6, $7, $8, $9, $10, $11, d.owner, d.repo, CASE WHEN $12::text IS NULL THEN 'called' ELSE 'refused' END, $12, $13
                 FROM (SELECT) AS entry LEFT JOIN deployments d ON d.id = $11",
                ago(tally.last_at),
                tally.times,
                (tally.times > 1).then(|| ago(tally.first_at)),
                one.then_some(by.request_id.as_str()),
                one.then(|| by.address.to_string()),
                if one { principal.subject.as_str() } else { EVERYONE_ELSE },
                if one { principal.kind.as_str() } else { "several" },
                token_id.filter(|_| one),
                principal.role.as_str(),
                action.as_str(),
                *target,
                *code,
                details
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Records an action within the caller's transaction, and returns the row's id.
pub async fn record(connection: &mut PgConnection, entry: &AuditRecord<'_>) -> Result<i64, DbError> {
    let principal = &entry.by.principal;
    let remote = principal.kind != AuthMethod::Operator;
    let token_id = if let AuthMethod::Token(id) = &principal.kind { Some(id.as_str()) } else { None };
    let (owner, repo) = entry.repository.unzip();
    let id = sqlx::query_scalar!(
        "INSERT INTO audit (request_id, address, subject, kind, token_id, role, action, target, owner, repo, result, error_code, details)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, coalesce($9, d.owner), coalesce($10, d.repo), $11, $12, $13
         FROM (SELECT) AS entry LEFT JOIN deployments d ON d.id = $8
         RETURNING id",
        remote.then_some(entry.by.request_id.as_str()),
        remote.then(|| entry.by.address.to_string()),
        principal.subject,
        principal.kind.as_str(),
        token_id,
        principal.role.as_str(),
        entry.action.as_str(),
        entry.target,
        owner,
        repo,
        if entry.refused.is_some() { "refused" } else { "done" },
        entry.refused,
        entry.details
    )
    .fetch_one(connection)
    .await?;
    Ok(id)
}
