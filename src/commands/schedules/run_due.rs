//! Run a due schedule. The transaction that locks the row decides: run, deployment and next time are committed together or not at all, and the key
//! of `schedule_runs` prevents a second run of the same time. All times are by the database's clock.

use chrono::{DateTime, TimeDelta, Utc};

use super::stop::stop;
use super::target::{UnusableTarget, new_deployment};
use crate::commands::deploy::removed_connection::RemovedConnection;
use crate::commands::deploy::{self, DeployRefusal, Starter};
use crate::db::schedules::permission::{self, ScheduleSelector};
use crate::db::schedules::runs::{self, DueSchedule};
use crate::db::{Db, DbError, PgConnection};
use crate::domain::cron::{self, Cron};
use crate::domain::message::{Message, message};
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
    pub message: Message,
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

/// Processes the schedule that has been due for longest, unless another replica is processing it. None when no schedule is due.
///
/// # Errors
/// The database is unavailable: the schedule stays due.
pub async fn run_due(db: &Db, starter: Starter<'_>, sign_in: &SignIn) -> Result<Option<ProcessedSchedule>, DbError> {
    let mut tx = db.begin().await?;
    let Some(due) = runs::claim(&mut tx).await? else { return Ok(None) };
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
            skip_failed(db, &id, due_at, now, &error).await?
        }
    };
    reached("schedule committed");
    Ok(Some(ran))
}

/// Records the failure, and sets the next time.
async fn skip_failed(
    db: &Db,
    id: &str,
    due: DateTime<Utc>,
    now: DateTime<Utc>,
    error: &DbError,
) -> Result<ProcessedSchedule, DbError> {
    tracing::error!(%error, schedule = id, "schedule failed with an internal error, skipping this time");
    let run =
        ScheduledRun::Failed(RunFailure { refused: false, code: "INTERNAL", message: message!("schedule.internal") });
    let mut tx = db.begin().await?;
    if let Some((cron, time_zone)) = runs::lock_due(&mut tx, id, due).await? {
        let next = parse(&cron, &time_zone).ok().and_then(|(cron, zone)| cron.next_after(now, zone));
        record(&mut tx, id, DueTimes { due, count: 1 }, &run).await?;
        runs::set_next(&mut tx, id, next).await?;
    }
    tx.commit().await?;
    Ok(ProcessedSchedule { schedule: id.to_owned(), late: now - due, skipped: None, run: Some(run), stopped: None })
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
        stop(tx, ScheduleSelector::Id(&id), &ended, &by).await?;
        let run = ScheduledRun::Failed(RunFailure { refused: false, code: ended.code(), message: ended.message() });
        return Ok(ProcessedSchedule { schedule: id, late, skipped: None, run: Some(run), stopped: Some(ended) });
    }
    let (cron, zone) = match parse(&due.cron, &due.time_zone) {
        Ok(parsed) => parsed,
        // Written by a version with other rules. The schedule stays without a next time until it is changed.
        Err(message) => {
            let run = ScheduledRun::Failed(RunFailure { refused: false, code: "SCHEDULE_INVALID", message });
            record(tx, &id, DueTimes { due: due.since, count: 1 }, &run).await?;
            runs::set_next(tx, &id, None).await?;
            return Ok(ProcessedSchedule { schedule: id, late, skipped: None, run: Some(run), stopped: None });
        }
    };
    let missed: Missed = due.missed.parse().map_err(DbError::corrupt)?;
    let Plan { skip, start, next } = plan(&cron, zone, missed, due.since, due.now);
    if let Some(times) = skip {
        runs::record_skipped(tx, &id, times).await?;
    }
    let mut ran = ProcessedSchedule { schedule: id.clone(), late, skipped: skip, run: None, stopped: None };
    if let Some(times) = start
        && !runs::has_run_at(tx, &id, times.due).await?
    {
        let run = start_now(tx, starter, due).await?;
        reached("schedule made");
        record(tx, &id, times, &run).await?;
        ran.run = Some(run);
    }
    runs::set_next(tx, &id, next).await?;
    Ok(ran)
}

/// Starts a deployment with the permission of the schedule's owner.
async fn start_now(tx: &mut PgConnection, starter: Starter<'_>, due: DueSchedule) -> Result<ScheduledRun, DbError> {
    let failed = |refused, code, message| Ok(ScheduledRun::Failed(RunFailure { refused, code, message }));
    let role: Role = due.role.parse().map_err(DbError::corrupt)?;
    let by = Caller::schedule(&due.target.id, role, Scope::from_sql(due.scope));
    let new = match new_deployment(tx, starter, due.target, &by).await? {
        Ok(new) => new,
        Err(UnusableTarget::Removed(id)) => {
            return failed(false, "CONNECTION_REMOVED", message!("schedule.connection_removed", id));
        }
        Err(UnusableTarget::NotFor(id)) => {
            return failed(false, "OUT_OF_SCOPE", message!("schedule.connection_not_for", id));
        }
        Err(UnusableTarget::Name(broken)) => return failed(false, "INVALID_FIELD", invalid("repo", broken)),
    };
    match deploy::create(tx, &new, &by).await? {
        Ok(made) => Ok(ScheduledRun::Started { deployment: new.id, superseded: made.superseded }),
        Err(DeployRefusal::TargetTaken(id)) => failed(true, "TARGET_TAKEN", message!("schedule.target_taken", id)),
        Err(DeployRefusal::NeedsApprover) => {
            failed(true, "NOT_ALLOWED", message!("schedule.needs_approver", role = role.as_str()))
        }
        Err(DeployRefusal::NameTaken { .. }) => {
            failed(false, "REPOSITORY_NAME_TAKEN", message!("schedule.name_taken", name = new.ecr_repository))
        }
        Err(DeployRefusal::Connection(RemovedConnection(id))) => {
            failed(false, "CONNECTION_REMOVED", message!("schedule.connection_gone", id))
        }
    }
}

pub(super) fn parse(cron: &str, zone: &str) -> Result<(Cron, chrono_tz::Tz), Message> {
    let cron = Cron::parse(cron).map_err(|error| invalid("cron", error.message()))?;
    Ok((cron, cron::zone(zone).map_err(|error| invalid("timeZone", error.message()))?))
}

fn invalid(field: &str, rule: Message) -> Message {
    message!("INVALID_FIELD.detail", field, rule)
}

async fn record(tx: &mut PgConnection, id: &str, times: DueTimes, run: &ScheduledRun) -> Result<(), DbError> {
    let outcome = match run {
        ScheduledRun::Started { deployment, .. } => Ok(deployment.as_str()),
        ScheduledRun::Failed(failure) => Err((failure.code, &failure.message)),
    };
    runs::record_run(tx, id, times, run.result(), outcome).await
}
