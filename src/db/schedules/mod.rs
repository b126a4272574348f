//! Schedules: deployments that start at set times, and a record of each due time.

mod manual_run;
pub(super) mod permission;
mod start;
mod target;
mod views;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};
use sqlx::PgConnection;

pub use manual_run::{ManualRun, ManualRunRefusal};
pub use permission::StoppedSchedule;
pub use start::{ProcessedSchedule, RunFailure, ScheduledRun};
pub use target::{Starter, UnusableTarget};
pub use views::{ScheduleFilter, ScheduleRunFilter, ScheduleRunView, ScheduleView};

use super::audit::{self, AuditRecord};
use super::idempotency::{IdempotencyKey, Idempotent, reserve, store_answer};
use super::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::cron::Cron;
use crate::domain::deployment::Concurrency;
use crate::domain::principal::{AuthMethod, Caller, Scope};
use crate::domain::request::Requested;
use crate::domain::schedule::Missed;

/// Validated values of a schedule.
#[derive(Clone, Debug)]
pub struct ScheduleSpec {
    /// Name chosen by its owner.
    pub name: Option<String>,
    /// Times at which it is due.
    pub cron: Cron,
    /// Time zone of the expression.
    pub zone: Tz,
    /// Id of the connection to the source repository, with the prefix `gh_`.
    pub github_connection_id: String,
    /// Id of the connection to the AWS account, with the prefix `aws_`.
    pub aws_connection_id: String,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// Source revision, build options and reason of each deployment.
    pub requested: Requested,
    /// Policy for a target that has an unfinished deployment.
    pub concurrency: Concurrency,
    /// Policy for times at which no server was running.
    pub missed: Missed,
    /// Starts nothing until the schedule is resumed.
    pub paused: bool,
}

impl ScheduleSpec {
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

/// Conditions of a change.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleEdit {
    /// Version that the change was made from.
    pub version: i64,
    /// Recomputes the next time: the expression, its time zone or the pause changed.
    pub retime: bool,
}

impl Db {
    /// Creates a schedule and stores `answer` (made from it) under the key, in one transaction. The caller becomes its owner.
    pub async fn create_schedule(
        &self,
        id: &str,
        spec: &ScheduleSpec,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: impl FnOnce(ScheduleView) -> Value,
    ) -> Result<Idempotent<Value>, DbError> {
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
            spec.name,
            spec.cron.as_str(),
            spec.zone.name(),
            spec.github_connection_id,
            spec.aws_connection_id,
            spec.owner,
            spec.repo,
            spec.requested.source.column(),
            spec.concurrency.as_str(),
            spec.missed.as_str(),
            spec.paused,
            spec.next(now),
            principal.subject,
            principal.kind.as_str(),
            token_of(by),
            principal.role.as_str(),
            principal.scope.sql(),
            spec.requested.build_column(),
            spec.requested.reason,
            spec.requested.kind.as_str(),
            admin,
            issuer,
            claims,
        )
        .execute(&mut *tx)
        .await?;
        record(&mut tx, by, Action::CreateSchedule, id, (&spec.owner, &spec.repo), spec.details()).await?;
        let made = views::one(&mut tx, &Scope::All, id).await?;
        let answer =
            answer(made.ok_or_else(|| DbError::Corrupt(format!("schedule {id} is missing right after its insert")))?);
        store_answer(&mut tx, key.as_ref(), &answer).await?;
        tx.commit().await?;
        Ok(Idempotent::Fresh(answer))
    }

    /// Changes a schedule to `spec` if it is still at the version that was read; none when it is not. The caller becomes its owner.
    pub async fn change_schedule(
        &self,
        id: &str,
        spec: &ScheduleSpec,
        change: ScheduleEdit,
        by: &Caller,
    ) -> Result<Option<ScheduleView>, DbError> {
        let mut tx = self.pool.begin().await?;
        // Locked first: a start in progress ends before the next time is computed, so that this is a later one.
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
            spec.name,
            spec.cron.as_str(),
            spec.zone.name(),
            spec.github_connection_id,
            spec.aws_connection_id,
            spec.owner,
            spec.repo,
            spec.requested.source.column(),
            spec.concurrency.as_str(),
            spec.missed.as_str(),
            spec.paused,
            change.retime,
            spec.next(now),
            principal.subject,
            principal.kind.as_str(),
            token_of(by),
            principal.role.as_str(),
            principal.scope.sql(),
            spec.requested.build_column(),
            spec.requested.reason,
            spec.requested.kind.as_str(),
            admin,
            issuer,
            claims,
        )
        .execute(&mut *tx)
        .await?;
        record(&mut tx, by, Action::ChangeSchedule, id, (&spec.owner, &spec.repo), spec.details()).await?;
        let changed = views::one(&mut tx, &Scope::All, id).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Pauses a schedule until it is resumed; none when it does not exist in the caller's scope. Its owner stays the same.
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
        let paused = views::one(&mut tx, &Scope::All, id).await?;
        tx.commit().await?;
        Ok(paused)
    }

    /// Deletes a schedule; false when it does not exist in the caller's scope. Its deployments and the records of its runs stay.
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

/// Returns the database's time, which all replicas use.
async fn now(connection: &mut PgConnection) -> Result<DateTime<Utc>, DbError> {
    Ok(sqlx::query_scalar!("SELECT clock_timestamp() AS \"now!\"").fetch_one(connection).await?)
}

fn token_of(by: &Caller) -> Option<&str> {
    if let AuthMethod::Token(id) = &by.principal.kind { Some(id) } else { None }
}

async fn record(
    connection: &mut PgConnection,
    by: &Caller,
    action: Action,
    id: &str,
    (owner, repo): (&str, &str),
    details: Value,
) -> Result<(), DbError> {
    let entry = AuditRecord { by, action, target: Some(id), repository: Some((owner, repo)), refused: None, details };
    audit::record(connection, &entry).await
}
