//! Schedules whose time has come: once a time, whoever is there, and recorded whatever becomes of it.

mod crash;
mod failures;
mod missed;
mod permission;
mod starts;

use chrono::{DateTime, Timelike as _, Utc};
use panda::db::Db;
use panda::db::schedules::{Ran, Run, RunFilter, RunView, ScheduleView, Starter, Wanted};
use panda::db::tokens::NewToken;
use panda::domain::cron::{self, Cron};
use panda::domain::deployment::Concurrency;
use panda::domain::ids;
use panda::domain::names::Names;
use panda::domain::permission::SignIn;
use panda::domain::principal::{Caller, Kind, Principal, Role, Scope};
use panda::domain::schedule::Missed;
use panda::domain::token::SecretHash;
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

/// Makes it for a caller, with a row for the caller's API token; its id.
pub async fn made_by(db: &Db, wanted: &Wanted, by: &Caller) -> String {
    if let Kind::Token(id) = &by.principal.kind
        && db.tokens().await.unwrap().iter().all(|token| token.id != *id)
    {
        let (role, scope) = (Role::Admin, Scope::All);
        let new = NewToken { id: id.clone(), name: by.principal.subject.clone(), role, scope, expires_at: None };
        db.insert_token(&new, &SecretHash::of(id), &Caller::local()).await.unwrap();
    }
    let id = ids::schedule_id();
    db.create_schedule(&id, wanted, None, by, |_| Value::Null).await.unwrap();
    id
}

/// Somebody with an API token of this role, for all repositories.
pub fn caller(name: &str, role: Role, scope: Scope) -> Caller {
    let kind = Kind::Token(format!("tok_{name}"));
    let principal = Principal { subject: name.to_owned(), kind, role, scope, ..Principal::nobody() };
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

/// Deals with what is due, as a replica does where no sign-in is required.
pub async fn look(db: &Db) -> Option<Ran> {
    look_with(db, &SignIn::default()).await
}

/// Deals with what is due, as a replica with these sign-in settings does.
pub async fn look_with(db: &Db, sign_in: &SignIn) -> Option<Ran> {
    db.run_due_schedule(Starter { names: &Names::default(), first_step: FIRST_STEP }, sign_in).await.unwrap()
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
