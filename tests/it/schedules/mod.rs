//! Schedules whose time has come: once a time, whoever is there, and recorded whatever becomes of it.

mod crash;
mod failures;
mod missed;
mod starts;

use chrono::{DateTime, Timelike as _, Utc};
use panda::db::Db;
use panda::db::schedules::{Ran, Run, RunFilter, RunView, ScheduleView, Starter, Wanted};
use panda::domain::cron::{self, Cron};
use panda::domain::deployment::Concurrency;
use panda::domain::ids;
use panda::domain::names::Names;
use panda::domain::principal::{Caller, Role, Scope};
use panda::domain::schedule::Missed;
use panda::steps::FIRST_STEP;
use serde_json::Value;

use crate::http::story;
use crate::support::db::TestDb;

/// What a test wants: every hour of `acme/shop`, with connections of its own.
pub async fn hourly(db: &Db) -> Wanted {
    Wanted {
        name: None,
        cron: Cron::parse("0 * * * *").unwrap(),
        zone: cron::zone("UTC").unwrap(),
        github_connection_id: story::github_connection(db, "acme", "shop").await,
        aws_connection_id: story::aws_connection(db).await,
        owner: "acme".to_owned(),
        repo: "shop".to_owned(),
        requested: panda::domain::request::Requested::branch("main"),
        concurrency: Concurrency::Reject,
        missed: Missed::RunOnce,
        paused: false,
    }
}

/// Makes it; its id.
pub async fn made(db: &Db, wanted: &Wanted) -> String {
    made_by(db, wanted, &Caller::local()).await
}

/// Makes it for somebody; its id.
pub async fn made_by(db: &Db, wanted: &Wanted, by: &Caller) -> String {
    let id = ids::schedule_id();
    db.create_schedule(&id, wanted, None, by, |_| Value::Null).await.unwrap();
    id
}

/// Somebody with an API token of this role, for all repositories.
pub fn caller(name: &str, role: Role, scope: Scope) -> Caller {
    use panda::domain::principal::{Kind, Principal};
    let kind = Kind::Token(format!("tok_{name}"));
    let principal = Principal { subject: name.to_owned(), kind, role, scope, expires_at: None };
    Caller { principal: std::sync::Arc::new(principal), ..Caller::local() }
}

/// Turns the clock: the schedule has been due since the last full hour, `hours` before that.
pub async fn due(test: &TestDb, id: &str, hours: i32) -> DateTime<Utc> {
    let sql = "UPDATE schedules SET next_run_at = date_trunc('hour', now(), 'UTC') - $2 * interval '1 hour' WHERE id = $1 RETURNING next_run_at";
    sqlx::query_scalar(sql).bind(id).bind(hours).fetch_one(&mut test.psql().await).await.unwrap()
}

/// Has been due for an instant: on time, whatever the minute.
pub async fn due_now(test: &TestDb, id: &str) -> DateTime<Utc> {
    let sql = "UPDATE schedules SET next_run_at = now() WHERE id = $1 RETURNING next_run_at";
    sqlx::query_scalar(sql).bind(id).fetch_one(&mut test.psql().await).await.unwrap()
}

/// Deals with what is due, as a replica does.
pub async fn look(db: &Db) -> Option<Ran> {
    db.run_due_schedule(Starter { names: &Names::default(), first_step: FIRST_STEP }).await.unwrap()
}

/// The deployment that was started.
pub fn deployment(ran: Option<Ran>) -> String {
    match ran.and_then(|ran| ran.run) {
        Some(Run::Started { deployment, .. }) => deployment,
        other => panic!("nothing was started: {other:?}"),
    }
}

/// The schedule.
pub async fn schedule(db: &Db, id: &str) -> ScheduleView {
    db.schedule(&Scope::All, id).await.unwrap().unwrap()
}

/// What became of its times, latest first.
pub async fn runs(db: &Db, id: &str) -> Vec<RunView> {
    db.schedule_runs(id, &RunFilter { before: None, limit: 100 }).await.unwrap()
}

/// Ends everything that runs.
pub async fn end_all(test: &TestDb) {
    let sql = "UPDATE deployments SET status = 'FAILED', error_code = 'CANCELLED', error_message = 'm', completed_at = now(), queued = false
               WHERE status IN ('RUNNING', 'DEPLOYMENT_READY')";
    sqlx::query(sql).execute(&mut test.psql().await).await.unwrap();
}
