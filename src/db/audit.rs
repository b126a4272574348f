//! Who did what: rows that are added, in the transaction of the change where there is one, and never changed.

mod newest;

use std::time::Instant;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::principal::{Caller, Kind};
use crate::domain::refusals::{EVERYONE_ELSE, Refusal, Tally};

/// What is to be kept.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Who asked, and from where.
    pub by: &'a Caller,
    /// For what.
    pub action: Action,
    /// Of which deployment, connection or token.
    pub target: Option<&'a str>,
    /// Which repository; that of the deployment when none is given.
    pub repository: Option<(&'a str, &'a str)>,
    /// Why it was refused; none when it was done.
    pub refused: Option<&'a str>,
    /// More of it; never a secret.
    pub details: Value,
}

/// What was kept.
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

/// Which rows.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only of this subject.
    pub subject: Option<String>,
    /// Only this action.
    pub action: Option<Action>,
    /// Only of this deployment, connection or token.
    pub target: Option<String>,
    /// At or after.
    pub since: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
    /// Only rows before this one.
    pub before: Option<i64>,
    /// Most rows.
    pub limit: i64,
}

impl Db {
    /// Keeps what changed nothing here, such as what was done row by row.
    pub async fn record(&self, entry: &Entry<'_>) -> Result<(), DbError> {
        record(&mut *self.pool.acquire().await?, entry).await
    }

    /// Keeps refusals, one row a tally: `audit.times` says how many it stands for.
    pub async fn record_refusals(&self, tallies: &[Tally]) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        for tally in tallies {
            let Refusal { by, action, target, code, details } = &tally.last;
            let principal = &by.principal;
            let token_id = if let Kind::Token(id) = &principal.kind { Some(id.as_str()) } else { None };
            // The database's clock, which all rows go by.
            let ago = |at: Instant| at.elapsed().as_secs_f64();
            let one = !tally.several_callers;
            sqlx::query!(
                "INSERT INTO audit (at, times, first_at, request_id, address, subject, kind, token_id, role, action, target, owner, repo, result,
                                    error_code, details)
                 SELECT clock_timestamp() - make_interval(secs => $1), $2, clock_timestamp() - make_interval(secs => $3),
                        $4, $5, $6, $7, $8, $9, $10, $11, d.owner, d.repo, 'refused', $12, $13
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
                code,
                details
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Within the caller's transaction.
pub(super) async fn record(connection: &mut PgConnection, entry: &Entry<'_>) -> Result<(), DbError> {
    let principal = &entry.by.principal;
    let remote = principal.kind != Kind::Operator;
    let token_id = if let Kind::Token(id) = &principal.kind { Some(id.as_str()) } else { None };
    let (owner, repo) = entry.repository.unzip();
    sqlx::query!(
        "INSERT INTO audit (request_id, address, subject, kind, token_id, role, action, target, owner, repo, result, error_code, details)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, coalesce($9, d.owner), coalesce($10, d.repo), $11, $12, $13
         FROM (SELECT) AS entry LEFT JOIN deployments d ON d.id = $8",
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
    .execute(connection)
    .await?;
    Ok(())
}
