//! Deployments that start by the clock: the schedules, and what became of each time at which they were due.

mod asked;
pub(super) mod permission;
mod show;
mod start;
mod target;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};
use sqlx::PgConnection;

pub use asked::{Refused, Started};
pub use permission::Stopped;
pub use show::{RunFilter, RunView, ScheduleFilter, ScheduleView};
pub use start::{Failure, Ran, Run};
pub use target::{Starter, Unusable};

use super::audit::{self, Entry};
use super::idempotency::{IdempotencyKey, Once, keep, reserve};
use super::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::cron::Cron;
use crate::domain::deployment::Concurrency;
use crate::domain::principal::{Caller, Kind, Scope};
use crate::domain::request::Requested;
use crate::domain::schedule::Missed;

/// What somebody wants to happen, all of it checked.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What people call it.
    pub name: Option<String>,
    /// When.
    pub cron: Cron,
    /// By whose clock.
    pub zone: Tz,
    /// `gh_…`
    pub github_connection_id: String,
    /// `aws_…`
    pub aws_connection_id: String,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// What is deployed each time, and how.
    pub requested: Requested,
    /// What to do when the target has an unfinished deployment.
    pub concurrency: Concurrency,
    /// What to do about times at which nobody was there.
    pub missed: Missed,
    /// Whether it waits until somebody resumes it.
    pub paused: bool,
}

impl Wanted {
    fn next(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.paused { None } else { self.cron.next_after(now, self.zone) }
    }

    fn details(&self) -> Value {
        let mut details = json!({
            "name": self.name, "cron": self.cron.as_str(), "timeZone": self.zone.name(),
            "concurrency": self.concurrency, "missed": self.missed, "paused": self.paused,
            "githubConnectionId": self.github_connection_id, "awsConnectionId": self.aws_connection_id,
        });
        for (name, value) in self.requested.details() {
            details[name] = value;
        }
        details
    }
}

/// What a change takes with it.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The version that the change was made from.
    pub version: i64,
    /// Whether the next time is to be found anew.
    pub retime: bool,
}

impl Db {
    /// Makes a schedule, and keeps `answer` (made from it) for the key, in one transaction. The caller answers for it.
    pub async fn create_schedule(
        &self,
        id: &str,
        wanted: &Wanted,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: impl FnOnce(ScheduleView) -> Value,
    ) -> Result<Once<Value>, DbError> {
        let key = self.keyed(key).await?;
        let mut tx = self.pool.begin().await?;
        if let Some(known) = reserve(&mut tx, key.as_ref()).await? {
            return Ok(known);
        }
        let now = now(&mut tx).await?;
        let principal = &by.principal;
        let (admin, issuer, claims) = permission::columns(principal);
        sqlx::query!(
            "INSERT INTO schedules (id, name, cron, time_zone, github_connection_id, aws_connection_id, owner, repo, branch, concurrency,
                                    missed, paused, next_run_at, made_by, made_by_kind, made_by_token, role, scope, build, reason, kind,
                                    made_by_admin, made_by_issuer, made_by_claims)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)",
            id,
            wanted.name,
            wanted.cron.as_str(),
            wanted.zone.name(),
            wanted.github_connection_id,
            wanted.aws_connection_id,
            wanted.owner,
            wanted.repo,
            wanted.requested.source.column(),
            wanted.concurrency.as_str(),
            wanted.missed.as_str(),
            wanted.paused,
            wanted.next(now),
            principal.subject,
            principal.kind.as_str(),
            token_of(by),
            principal.role.as_str(),
            principal.scope.sql(),
            wanted.requested.build_column(),
            wanted.requested.reason,
            wanted.requested.kind.as_str(),
            admin,
            issuer,
            claims,
        )
        .execute(&mut *tx)
        .await?;
        record(&mut tx, by, Action::CreateSchedule, id, (&wanted.owner, &wanted.repo), wanted.details()).await?;
        let made = show::one(&mut tx, &Scope::All, id).await?;
        let answer = answer(made.ok_or_else(|| DbError::Corrupt(format!("schedule {id} is not there")))?);
        keep(&mut tx, key.as_ref(), &answer).await?;
        tx.commit().await?;
        Ok(Once::Now(answer))
    }

    /// Changes a schedule to `wanted`, if it is still the version that was read; none when it is not. The caller answers for it from now on.
    pub async fn change_schedule(
        &self,
        id: &str,
        wanted: &Wanted,
        change: Change,
        by: &Caller,
    ) -> Result<Option<ScheduleView>, DbError> {
        let mut tx = self.pool.begin().await?;
        // Held first: a start that is under way ends before the next time is looked for, so that it is a later one.
        let locked = sqlx::query!(
            "SELECT FROM schedules WHERE id = $1 AND version = $2 AND deleted_at IS NULL FOR UPDATE",
            id,
            change.version
        );
        if locked.fetch_optional(&mut *tx).await?.is_none() {
            return Ok(None);
        }
        let now = now(&mut tx).await?;
        let principal = &by.principal;
        let (admin, issuer, claims) = permission::columns(principal);
        sqlx::query!(
            "UPDATE schedules SET
                 name = $2, cron = $3, time_zone = $4, github_connection_id = $5, aws_connection_id = $6, owner = $7, repo = $8,
                 branch = $9, concurrency = $10, missed = $11, paused = $12, version = version + 1, updated_at = now(),
                 next_run_at = CASE WHEN $13 THEN $14 ELSE next_run_at END,
                 made_by = $15, made_by_kind = $16, made_by_token = $17, role = $18, scope = $19,
                 build = $20, reason = $21, kind = $22, made_by_admin = $23, made_by_issuer = $24, made_by_claims = $25,
                 stopped_at = NULL, stopped_code = NULL, stopped_reason = NULL
             WHERE id = $1",
            id,
            wanted.name,
            wanted.cron.as_str(),
            wanted.zone.name(),
            wanted.github_connection_id,
            wanted.aws_connection_id,
            wanted.owner,
            wanted.repo,
            wanted.requested.source.column(),
            wanted.concurrency.as_str(),
            wanted.missed.as_str(),
            wanted.paused,
            change.retime,
            wanted.next(now),
            principal.subject,
            principal.kind.as_str(),
            token_of(by),
            principal.role.as_str(),
            principal.scope.sql(),
            wanted.requested.build_column(),
            wanted.requested.reason,
            wanted.requested.kind.as_str(),
            admin,
            issuer,
            claims,
        )
        .execute(&mut *tx)
        .await?;
        record(&mut tx, by, Action::ChangeSchedule, id, (&wanted.owner, &wanted.repo), wanted.details()).await?;
        let changed = show::one(&mut tx, &Scope::All, id).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Stops a schedule until somebody resumes it; none when there is none for the caller. Whoever answers for it goes on doing so.
    pub async fn pause_schedule(&self, id: &str, by: &Caller) -> Result<Option<ScheduleView>, DbError> {
        let mut tx = self.pool.begin().await?;
        let paused = sqlx::query!(
            "UPDATE schedules SET paused = true, next_run_at = NULL, version = version + 1, updated_at = now()
             WHERE id = $1 AND deleted_at IS NULL AND in_scope(owner, repo, $2) RETURNING owner, repo",
            id,
            by.scope().sql()
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(paused) = paused else { return Ok(None) };
        record(&mut tx, by, Action::ChangeSchedule, id, (&paused.owner, &paused.repo), json!({"paused": true})).await?;
        let paused = show::one(&mut tx, &Scope::All, id).await?;
        tx.commit().await?;
        Ok(paused)
    }

    /// Deletes a schedule; false when there is none for the caller. What it started, and what became of its times, stays.
    pub async fn delete_schedule(&self, id: &str, by: &Caller) -> Result<bool, DbError> {
        let mut tx = self.pool.begin().await?;
        let gone = sqlx::query!(
            "UPDATE schedules SET deleted_at = now(), next_run_at = NULL
             WHERE id = $1 AND deleted_at IS NULL AND in_scope(owner, repo, $2) RETURNING owner, repo",
            id,
            by.scope().sql()
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(gone) = gone else { return Ok(false) };
        record(&mut tx, by, Action::DeleteSchedule, id, (&gone.owner, &gone.repo), json!({})).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// The database's clock, which all replicas go by.
async fn now(connection: &mut PgConnection) -> Result<DateTime<Utc>, DbError> {
    Ok(sqlx::query_scalar!("SELECT clock_timestamp() AS \"now!\"").fetch_one(connection).await?)
}

fn token_of(by: &Caller) -> Option<&str> {
    if let Kind::Token(id) = &by.principal.kind { Some(id) } else { None }
}

async fn record(
    connection: &mut PgConnection,
    by: &Caller,
    action: Action,
    id: &str,
    (owner, repo): (&str, &str),
    details: Value,
) -> Result<(), DbError> {
    let entry = Entry { by, action, target: Some(id), repository: Some((owner, repo)), refused: None, details };
    audit::record(connection, &entry).await
}
