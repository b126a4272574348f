//! Runs of due schedules. The transaction that locks the row decides: run, deployment and next time are committed together or not at all, and the key
//! of `schedule_runs` prevents a second run of the same time.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::permission::{self, ScheduleSelector};
use super::target::{Starter, Target, UnusableTarget, new_deployment};
use crate::db::create::{self, CreateRefusal};
use crate::db::{Db, DbError};
use crate::domain::cron::{self, Cron};
use crate::domain::permission::{PermissionEnd, SignIn};
use crate::domain::principal::{Caller, Role, Scope};
use crate::domain::schedule::{DueTimes, Missed, Plan, plan};
use crate::failpoints::reached;

/// Reason for which no deployment was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFailure {
    /// True if the next time may succeed without a change by a user.
    pub refused: bool,
    /// Stable code, as in the API's errors.
    pub code: &'static str,
    /// Description with the remedy.
    pub message: String,
}

/// Outcome of a due time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduledRun {
    /// A deployment was started and superseded others.
    Started {
        /// Id of the new deployment.
        deployment: String,
        /// Ids of deployments that were asked to end in its favour.
        superseded: Vec<String>,
    },
    /// No deployment was started.
    Failed(RunFailure),
}

impl ScheduledRun {
    /// Returns the result for the database and the metrics.
    pub fn result(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Failed(RunFailure { refused: true, .. }) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// A due schedule that was processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessedSchedule {
    /// Id of the schedule.
    pub schedule: String,
    /// Delay between the due time and now, by the database's clock.
    pub late: TimeDelta,
    /// Times that were skipped.
    pub skipped: Option<DueTimes>,
    /// Outcome of the time that was not skipped.
    pub run: Option<ScheduledRun>,
    /// Reason for which the schedule stopped; none while it is active.
    pub stopped: Option<PermissionEnd>,
}

struct DueSchedule {
    target: Target,
    cron: String,
    time_zone: String,
    missed: String,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
    role: String,
    scope: Option<Vec<String>>,
}

impl Db {
    /// Processes the schedule that has been due for longest, unless another replica is processing it. None when no schedule is due.
    pub async fn run_due_schedule(
        &self,
        starter: Starter<'_>,
        sign_in: &SignIn,
    ) -> Result<Option<ProcessedSchedule>, DbError> {
        let mut tx = self.pool.begin().await?;
        let Some(due) = claim(&mut tx).await? else { return Ok(None) };
        reached("schedule claimed");
        let (id, due_at, now) = (due.target.id.clone(), due.since, due.now);
        let ran = match run(&mut tx, starter, sign_in, due).await {
            Ok(ran) => {
                tx.commit().await?;
                ran
            }
            Err(error) if error.is_unavailable() => return Err(error),
            // A schedule whose statement the database refuses must not block the others for ever.
            Err(error) => {
                drop(tx);
                self.skip_failed(&id, due_at, now, &error).await?
            }
        };
        reached("schedule committed");
        Ok(Some(ran))
    }

    /// Returns the time until the next schedule is due; negative when one is overdue. None when no schedule is active.
    pub async fn next_schedule(&self) -> Result<Option<TimeDelta>, DbError> {
        let seconds = sqlx::query_scalar!(
            "SELECT extract(epoch FROM min(next_run_at) - clock_timestamp())::float8 FROM schedules WHERE next_run_at IS NOT NULL"
        )
        .fetch_one(&self.pool)
        .await?;
        #[expect(clippy::cast_possible_truncation, reason = "the milliseconds of a few thousand years fit")]
        Ok(seconds.map(|seconds| TimeDelta::milliseconds((seconds * 1_000.0) as i64)))
    }

    async fn skip_failed(
        &self,
        id: &str,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
        error: &DbError,
    ) -> Result<ProcessedSchedule, DbError> {
        tracing::error!(%error, schedule = id, "schedule failed with an internal error, skipping this time");
        let run = ScheduledRun::Failed(RunFailure {
            refused: false,
            code: "INTERNAL",
            message: "Internal error on the server; see its log. The schedule runs again at its next time.".to_owned(),
        });
        let mut tx = self.pool.begin().await?;
        let row = sqlx::query!(
            "SELECT cron, time_zone FROM schedules WHERE id = $1 AND next_run_at = $2 FOR UPDATE",
            id,
            due
        )
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(row) = row {
            let next = read(&row.cron, &row.time_zone).ok().and_then(|(cron, zone)| cron.next_after(now, zone));
            record_run(&mut tx, id, DueTimes { due, count: 1 }, &run).await?;
            set_next(&mut tx, id, next).await?;
        }
        tx.commit().await?;
        Ok(ProcessedSchedule { schedule: id.to_owned(), late: now - due, skipped: None, run: Some(run), stopped: None })
    }
}

async fn claim(connection: &mut PgConnection) -> Result<Option<DueSchedule>, DbError> {
    let row = sqlx::query!(
        "SELECT id, github_connection_id, aws_connection_id, branch, build, reason, kind, concurrency, cron, time_zone, missed, role, scope,
                next_run_at AS \"due!\", clock_timestamp() AS \"now!\"
         FROM schedules WHERE next_run_at <= clock_timestamp() ORDER BY next_run_at LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| DueSchedule {
        target: Target {
            id: row.id,
            github_connection_id: row.github_connection_id,
            aws_connection_id: row.aws_connection_id,
            branch: row.branch,
            build: row.build,
            reason: row.reason,
            kind: row.kind,
            concurrency: row.concurrency,
        },
        cron: row.cron,
        time_zone: row.time_zone,
        missed: row.missed,
        since: row.due,
        now: row.now,
        role: row.role,
        scope: row.scope,
    }))
}

async fn run(
    tx: &mut PgConnection,
    starter: Starter<'_>,
    sign_in: &SignIn,
    due: DueSchedule,
) -> Result<ProcessedSchedule, DbError> {
    let (id, late) = (due.target.id.clone(), due.now - due.since);
    let held = permission::held(tx, &id).await?;
    if let Some(ended) = sign_in.ended(&held) {
        let by = Caller::schedule(&id, held.role, held.scope);
        permission::stop(tx, ScheduleSelector::Id(&id), &ended, &by).await?;
        let run = ScheduledRun::Failed(RunFailure { refused: false, code: ended.code(), message: ended.message() });
        return Ok(ProcessedSchedule { schedule: id, late, skipped: None, run: Some(run), stopped: Some(ended) });
    }
    let (cron, zone) = match read(&due.cron, &due.time_zone) {
        Ok(read) => read,
        // Written by a version with other rules. The schedule stays without a next time until it is changed.
        Err(message) => {
            let run = ScheduledRun::Failed(RunFailure { refused: false, code: "SCHEDULE_INVALID", message });
            record_run(tx, &id, DueTimes { due: due.since, count: 1 }, &run).await?;
            set_next(tx, &id, None).await?;
            return Ok(ProcessedSchedule { schedule: id, late, skipped: None, run: Some(run), stopped: None });
        }
    };
    let missed: Missed = due.missed.parse().map_err(DbError::Corrupt)?;
    let Plan { skip, start, next } = plan(&cron, zone, missed, due.since, due.now);
    if let Some(times) = skip {
        sqlx::query!(
            "INSERT INTO schedule_runs (schedule_id, due_at, result, times) VALUES ($1, $2, 'skipped', $3) ON CONFLICT DO NOTHING",
            id,
            times.due,
            times.count
        )
        .execute(&mut *tx)
        .await?;
    }
    let mut ran = ProcessedSchedule { schedule: id.clone(), late, skipped: skip, run: None, stopped: None };
    if let Some(times) = start {
        // A changed expression may yield a time again that was processed before.
        let known = sqlx::query!("SELECT FROM schedule_runs WHERE schedule_id = $1 AND due_at = $2", id, times.due)
            .fetch_optional(&mut *tx);
        if known.await?.is_none() {
            let run = start_now(tx, starter, due).await?;
            reached("schedule made");
            record_run(tx, &id, times, &run).await?;
            ran.run = Some(run);
        }
    }
    set_next(tx, &id, next).await?;
    Ok(ran)
}

/// Starts a deployment with the permission of the schedule's owner.
async fn start_now(tx: &mut PgConnection, starter: Starter<'_>, due: DueSchedule) -> Result<ScheduledRun, DbError> {
    let failed = |refused, code, message| Ok(ScheduledRun::Failed(RunFailure { refused, code, message }));
    let role: Role = due.role.parse().map_err(DbError::Corrupt)?;
    let by = Caller::schedule(&due.target.id, role, Scope::from_sql(due.scope));
    let new = match new_deployment(tx, starter, due.target, &by).await? {
        Ok(new) => new,
        Err(UnusableTarget::Removed(id)) => {
            let message = format!(
                "The connection {id} was removed. Connect again, and change the schedule to the new connection."
            );
            return failed(false, "CONNECTION_REMOVED", message);
        }
        Err(UnusableTarget::NotFor(id)) => {
            let message = format!(
                "The connection {id} may not be used for this repository by the schedule's owner. Change the connection, or have another caller take the schedule over."
            );
            return failed(false, "OUT_OF_SCOPE", message);
        }
        Err(UnusableTarget::Name(why)) => return failed(false, "INVALID_FIELD", format!("repo: {why}")),
    };
    match create::create(tx, &new, &by).await? {
        Ok(made) => Ok(ScheduledRun::Started { deployment: new.id, superseded: made.superseded }),
        Err(CreateRefusal::TargetTaken(other)) => failed(
            true,
            "TARGET_TAKEN",
            format!("The deployment {other} of the same repository, AWS account and region is not finished."),
        ),
        Err(CreateRefusal::NeedsApprover) => {
            let message = format!(
                "The deployment to be superseded is switching its traffic; stopping that needs the role approver, and the schedule's is {role}."
            );
            failed(true, "NOT_ALLOWED", message)
        }
        Err(CreateRefusal::NameTaken { .. }) => {
            let message = format!("The ECR repository {} belongs to another source repository.", new.ecr_repository);
            failed(false, "REPOSITORY_NAME_TAKEN", message)
        }
        Err(CreateRefusal::ConnectionRemoved(id)) => {
            failed(false, "CONNECTION_REMOVED", format!("The connection {id} was removed."))
        }
        Err(CreateRefusal::ConnectionOutdated(id)) => {
            let message = format!(
                "The role of the connection {id} was connected with an external id that Panda did not derive. Renew the connection with `panda connect aws --renew {id} --role-arn ARN`."
            );
            failed(false, "CONNECTION_OUTDATED", message)
        }
    }
}

fn read(cron: &str, zone: &str) -> Result<(Cron, chrono_tz::Tz), String> {
    let cron = Cron::parse(cron).map_err(|error| format!("cron: {error}"))?;
    Ok((cron, cron::zone(zone).map_err(|error| format!("timeZone: {error}"))?))
}

async fn record_run(
    connection: &mut PgConnection,
    id: &str,
    times: DueTimes,
    run: &ScheduledRun,
) -> Result<(), DbError> {
    let (deployment, failure) = match run {
        ScheduledRun::Started { deployment, .. } => (Some(deployment), None),
        ScheduledRun::Failed(failure) => (None, Some(failure)),
    };
    sqlx::query!(
        "INSERT INTO schedule_runs (schedule_id, due_at, result, times, deployment_id, error_code, error_message)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        id,
        times.due,
        run.result(),
        times.count,
        deployment,
        failure.map(|failure| failure.code),
        failure.map(|failure| failure.message.as_str())
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn set_next(connection: &mut PgConnection, id: &str, next: Option<DateTime<Utc>>) -> Result<(), DbError> {
    // A program from before schedules could stop may have resumed a stopped one: it runs, so it is not stopped.
    sqlx::query!(
        "UPDATE schedules SET next_run_at = $2, stopped_at = NULL, stopped_code = NULL, stopped_reason = NULL WHERE id = $1",
        id,
        next
    )
    .execute(connection)
    .await?;
    Ok(())
}
