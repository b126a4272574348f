//! Schedules: deployments that start at set times, and a record of each due time.

pub mod permission;
pub mod retime;
pub mod runs;
pub mod target;
mod views;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sqlx::PgConnection;
use sqlx::types::Json;

pub use views::{ScheduleFilter, ScheduleRunFilter, ScheduleRunView, ScheduleView, one};

use super::DbError;
use crate::domain::cron::{Cron, ZONE_EDITION};
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

/// Inserts a schedule of this caller with its next time.
pub async fn insert(
    connection: &mut PgConnection,
    id: &str,
    spec: &ScheduleSpec,
    next: Option<DateTime<Utc>>,
    by: &Caller,
) -> Result<(), DbError> {
    let principal = &by.principal;
    let (admin, issuer, claims) = permission::columns(principal);
    sqlx::query!(
        "INSERT INTO schedules (id, name, cron, time_zone, github_connection_id, aws_connection_id, owner, repo, branch, concurrency,
                                    missed, paused, next_run_at, made_by, made_by_kind, made_by_token, role, scope, build, reason, kind,
                                    made_by_admin, made_by_issuer, made_by_claims, zone_edition, labels)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)",
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
        next,
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
        ZONE_EDITION,
        Json(&spec.requested.labels) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks a schedule that is still at `version`; false when it is not.
pub async fn lock_version(connection: &mut PgConnection, id: &str, version: i64) -> Result<bool, DbError> {
    let locked = sqlx::query!(
        "SELECT FROM schedules WHERE id = $1 AND version = $2 AND deleted_at IS NULL FOR UPDATE",
        id,
        version
    );
    Ok(locked.fetch_optional(connection).await?.is_some())
}

/// Replaces all values of a schedule, and makes the caller its owner. The next time changes only with `retime`.
pub async fn update(
    connection: &mut PgConnection,
    id: &str,
    spec: &ScheduleSpec,
    (retime, next): (bool, Option<DateTime<Utc>>),
    by: &Caller,
) -> Result<(), DbError> {
    let principal = &by.principal;
    let (admin, issuer, claims) = permission::columns(principal);
    sqlx::query!(
        "UPDATE schedules SET
                 name = $2, cron = $3, time_zone = $4, github_connection_id = $5, aws_connection_id = $6, owner = $7, repo = $8,
                 branch = $9, concurrency = $10, missed = $11, paused = $12, version = version + 1, updated_at = now(),
                 next_run_at = CASE WHEN $13 THEN $14 ELSE next_run_at END,
                 zone_edition = CASE WHEN $13 THEN $26 ELSE zone_edition END,
                 made_by = $15, made_by_kind = $16, made_by_token = $17, role = $18, scope = $19,
                 build = $20, reason = $21, kind = $22, made_by_admin = $23, made_by_issuer = $24, made_by_claims = $25, labels = $27,
                 stopped_at = NULL, stopped_code = NULL, stopped_reason = NULL, stopped_text = NULL
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
        retime,
        next,
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
        ZONE_EDITION,
        Json(&spec.requested.labels) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Pauses a schedule of the scope, and returns owner and name of its repository.
pub async fn pause(
    connection: &mut PgConnection,
    id: &str,
    scope: &Scope,
) -> Result<Option<(String, String)>, DbError> {
    let paused = sqlx::query!(
        "UPDATE schedules SET paused = true, next_run_at = NULL, version = version + 1, updated_at = now()
             WHERE id = $1 AND deleted_at IS NULL AND in_scope(owner, repo, $2) RETURNING owner, repo",
        id,
        scope.sql()
    )
    .fetch_optional(connection)
    .await?;
    Ok(paused.map(|row| (row.owner, row.repo)))
}

/// Deletes a schedule of the scope, and returns owner and name of its repository.
pub async fn delete(
    connection: &mut PgConnection,
    id: &str,
    scope: &Scope,
) -> Result<Option<(String, String)>, DbError> {
    let gone = sqlx::query!(
        "UPDATE schedules SET deleted_at = now(), next_run_at = NULL
             WHERE id = $1 AND deleted_at IS NULL AND in_scope(owner, repo, $2) RETURNING owner, repo",
        id,
        scope.sql()
    )
    .fetch_optional(connection)
    .await?;
    Ok(gone.map(|row| (row.owner, row.repo)))
}

/// Returns the database's time, which all replicas use.
pub async fn now(connection: &mut PgConnection) -> Result<DateTime<Utc>, DbError> {
    Ok(sqlx::query_scalar!("SELECT clock_timestamp() AS \"now!\"").fetch_one(connection).await?)
}

/// The id of the API token that the caller signed in with; none for another sign-in.
pub(in crate::db) fn token_of(by: &Caller) -> Option<&str> {
    if let AuthMethod::Token(id) = &by.principal.kind { Some(id) } else { None }
}
