//! A schedule whose time has come. Whoever holds its row decides; the run, the deployment and the next time are one transaction: it happened
//! or it did not, and the key of `schedule_runs` makes it once.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::permission::{self, Which};
use super::target::{Starter, Target, Unusable, new_deployment};
use crate::db::create::{self, Refusal};
use crate::db::{Db, DbError};
use crate::domain::cron::{self, Cron};
use crate::domain::permission::{Ended, SignIn};
use crate::domain::principal::{Caller, Role, Scope};
use crate::domain::schedule::{Missed, Plan, Times, plan};
use crate::failpoints::reached;

/// Why nothing was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether it may be otherwise the next time without anybody's doing.
    pub refused: bool,
    /// Stable code.
    pub code: &'static str,
    /// In words, with the remedy.
    pub message: String,
}

/// What became of a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// A deployment was started; these were asked to end in its favour.
    Started {
        /// `dep_…`
        deployment: String,
        /// `dep_…`
        superseded: Vec<String>,
    },
    /// Nothing was started.
    Failed(Failure),
}

impl Run {
    /// As it is stored and counted.
    pub fn result(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Failed(Failure { refused: true, .. }) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// A schedule that was dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// `sch_…`
    pub schedule: String,
    /// How late, by the database's clock.
    pub late: TimeDelta,
    /// Times that were left out.
    pub skipped: Option<Times>,
    /// What became of the one that was not.
    pub run: Option<Run>,
    /// Why it has stopped; none while it has not.
    pub stopped: Option<Ended>,
}

struct Due {
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
    /// Deals with the schedule that has been due for longest, unless another replica is at it; none when no schedule is due.
    pub async fn run_due_schedule(&self, starter: Starter<'_>, sign_in: &SignIn) -> Result<Option<Ran>, DbError> {
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
            // One that the database refuses must not keep the others waiting for ever.
            Err(error) => {
                drop(tx);
                self.give_up(&id, due_at, now, &error).await?
            }
        };
        reached("schedule committed");
        Ok(Some(ran))
    }

    /// For how long from now nothing is due; negative when something is. None when there is nothing to come.
    pub async fn next_schedule(&self) -> Result<Option<TimeDelta>, DbError> {
        let seconds = sqlx::query_scalar!(
            "SELECT extract(epoch FROM min(next_run_at) - clock_timestamp())::float8 FROM schedules WHERE next_run_at IS NOT NULL"
        )
        .fetch_one(&self.pool)
        .await?;
        #[expect(clippy::cast_possible_truncation, reason = "the milliseconds of a few thousand years fit")]
        Ok(seconds.map(|seconds| TimeDelta::milliseconds((seconds * 1_000.0) as i64)))
    }

    async fn give_up(&self, id: &str, due: DateTime<Utc>, now: DateTime<Utc>, error: &DbError) -> Result<Ran, DbError> {
        tracing::error!(%error, schedule = id, "a schedule could not be run");
        let run = Run::Failed(Failure {
            refused: false,
            code: "INTERNAL",
            message: "Something went wrong on the server; its log tells more. The next time is tried again.".to_owned(),
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
            keep_run(&mut tx, id, Times { due, count: 1 }, &run).await?;
            set_next(&mut tx, id, next).await?;
        }
        tx.commit().await?;
        Ok(Ran { schedule: id.to_owned(), late: now - due, skipped: None, run: Some(run), stopped: None })
    }
}

async fn claim(connection: &mut PgConnection) -> Result<Option<Due>, DbError> {
    let row = sqlx::query!(
        "SELECT id, github_connection_id, aws_connection_id, branch, build, reason, kind, concurrency, cron, time_zone, missed, role, scope,
                next_run_at AS \"due!\", clock_timestamp() AS \"now!\"
         FROM schedules WHERE next_run_at <= clock_timestamp() ORDER BY next_run_at LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Due {
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

async fn run(tx: &mut PgConnection, starter: Starter<'_>, sign_in: &SignIn, due: Due) -> Result<Ran, DbError> {
    let (id, late) = (due.target.id.clone(), due.now - due.since);
    let held = permission::held(tx, &id).await?;
    if let Some(ended) = sign_in.ended(&held) {
        let by = Caller::schedule(&id, held.role, held.scope);
        permission::stop(tx, Which::Id(&id), &ended, &by).await?;
        let run = Run::Failed(Failure { refused: false, code: ended.code(), message: ended.message() });
        return Ok(Ran { schedule: id, late, skipped: None, run: Some(run), stopped: Some(ended) });
    }
    let (cron, zone) = match read(&due.cron, &due.time_zone) {
        Ok(read) => read,
        // Made by a version with other rules. It stays, and waits for somebody to mend it.
        Err(message) => {
            let run = Run::Failed(Failure { refused: false, code: "SCHEDULE_INVALID", message });
            keep_run(tx, &id, Times { due: due.since, count: 1 }, &run).await?;
            set_next(tx, &id, None).await?;
            return Ok(Ran { schedule: id, late, skipped: None, run: Some(run), stopped: None });
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
    let mut ran = Ran { schedule: id.clone(), late, skipped: skip, run: None, stopped: None };
    if let Some(times) = start {
        // A change of the expression may bring a time again that was dealt with.
        let known = sqlx::query!("SELECT FROM schedule_runs WHERE schedule_id = $1 AND due_at = $2", id, times.due)
            .fetch_optional(&mut *tx);
        if known.await?.is_none() {
            let run = start_now(tx, starter, due).await?;
            reached("schedule made");
            keep_run(tx, &id, times, &run).await?;
            ran.run = Some(run);
        }
    }
    set_next(tx, &id, next).await?;
    Ok(ran)
}

/// With the right that its owner has.
async fn start_now(tx: &mut PgConnection, starter: Starter<'_>, due: Due) -> Result<Run, DbError> {
    let failed = |refused, code, message| Ok(Run::Failed(Failure { refused, code, message }));
    let role: Role = due.role.parse().map_err(DbError::Corrupt)?;
    let by = Caller::schedule(&due.target.id, role, Scope::from_sql(due.scope));
    let new = match new_deployment(tx, starter, due.target, &by).await? {
        Ok(new) => new,
        Err(Unusable::Removed(id)) => {
            let message = format!(
                "The connection {id} was removed. Connect anew, and change the schedule to the new connection."
            );
            return failed(false, "CONNECTION_REMOVED", message);
        }
        Err(Unusable::NotFor(id)) => {
            let message = format!(
                "The connection {id} may not be used for this repository by whoever answers for the schedule. Change one of them."
            );
            return failed(false, "OUT_OF_SCOPE", message);
        }
        Err(Unusable::Name(why)) => return failed(false, "INVALID_FIELD", format!("repo: {why}")),
    };
    match create::create(tx, &new, &by).await? {
        Ok(made) => Ok(Run::Started { deployment: new.id, superseded: made.superseded }),
        Err(Refusal::TargetTaken(other)) => failed(
            true,
            "TARGET_TAKEN",
            format!("The deployment {other} of the same repository, AWS account and region is not finished."),
        ),
        Err(Refusal::NeedsApprover) => {
            let message = format!(
                "The traffic of the deployment to be superseded is being moved, which needs the role approver; the schedule's is {role}."
            );
            failed(true, "NOT_ALLOWED", message)
        }
        Err(Refusal::NameTaken { .. }) => {
            let message = format!("The ECR repository {} belongs to another source repository.", new.ecr_repository);
            failed(false, "REPOSITORY_NAME_TAKEN", message)
        }
        Err(Refusal::ConnectionRemoved(id)) => {
            failed(false, "CONNECTION_REMOVED", format!("The connection {id} was removed."))
        }
        Err(Refusal::ConnectionOutdated(id)) => {
            let message = format!(
                "The role of the connection {id} was connected with an external id that Panda did not derive. Renew the connection with                  `panda connect aws --renew {id} --role-arn ARN`."
            );
            failed(false, "CONNECTION_OUTDATED", message)
        }
    }
}

fn read(cron: &str, zone: &str) -> Result<(Cron, chrono_tz::Tz), String> {
    let cron = Cron::parse(cron).map_err(|error| format!("cron: {error}"))?;
    Ok((cron, cron::zone(zone).map_err(|error| format!("timeZone: {error}"))?))
}

async fn keep_run(connection: &mut PgConnection, id: &str, times: Times, run: &Run) -> Result<(), DbError> {
    let (deployment, failure) = match run {
        Run::Started { deployment, .. } => (Some(deployment), None),
        Run::Failed(failure) => (None, Some(failure)),
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
    // A program from before schedules could stop may have resumed one that had: it runs, so it has not stopped.
    sqlx::query!(
        "UPDATE schedules SET next_run_at = $2, stopped_at = NULL, stopped_code = NULL, stopped_reason = NULL WHERE id = $1",
        id,
        next
    )
    .execute(connection)
    .await?;
    Ok(())
}
