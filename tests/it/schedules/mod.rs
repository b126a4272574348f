//! Due schedules: each time is started once, by any replica, and recorded with its outcome.

mod crash;
mod failures;
mod missed_runs;
mod permission;
mod retime;
mod starts;

use chrono::{DateTime, Timelike as _, Utc};
use panda::commands::deploy::Starter;
use panda::commands::schedules::create::create;
use panda::commands::schedules::run_due::{ProcessedSchedule, ScheduledRun, run_due};
use panda::commands::tokens::create_token;
use panda::db::Db;
use panda::db::schedules::{ScheduleRunFilter, ScheduleRunView, ScheduleSpec, ScheduleView};
use panda::db::tokens::NewToken;
use panda::domain::cron::{self, Cron};
use panda::domain::deployment::Concurrency;
use panda::domain::ids;
use panda::domain::names::Names;
use panda::domain::permission::SignIn;
use panda::domain::principal::{AuthMethod, Caller, Principal, Role, Scope};
use panda::domain::schedule::Missed;
use panda::domain::token::SecretHash;
use panda::steps::FIRST_STEP;
use serde_json::Value;

use crate::http::fixture;
use crate::support::db::TestDb;
use crate::support::environment::{Environment, TOKEN};

/// An hourly schedule of `acme/shop`, with separate connections.
pub async fn hourly(db: &Db) -> ScheduleSpec {
    ScheduleSpec {
        name: None,
        cron: Cron::parse("0 * * * *").unwrap(),
        zone: cron::zone("UTC").unwrap(),
        github_connection_id: fixture::github_connection(db, "acme", "shop").await,
        aws_connection_id: fixture::aws_connection(db).await,
        owner: "acme".to_owned(),
        repo: "shop".to_owned(),
        requested: panda::domain::request::Requested::branch("main"),
        concurrency: Concurrency::Reject,
        missed: Missed::RunOnce,
        paused: false,
    }
}

/// An hourly schedule of the environment's repository, with connections to its services.
pub async fn hourly_in(env: &Environment) -> ScheduleSpec {
    let (github, aws) = crate::reconcile::connect(env, "main", TOKEN).await;
    ScheduleSpec {
        github_connection_id: github.id,
        aws_connection_id: aws.id,
        owner: github.owner,
        repo: github.repo,
        ..hourly(&env.db.db).await
    }
}

/// Creates it and returns its id.
pub async fn made(db: &Db, wanted: &ScheduleSpec) -> String {
    made_by(db, wanted, &Caller::local()).await
}

/// Creates it for a caller, with a row for the caller's API token; returns its id.
pub async fn made_by(db: &Db, wanted: &ScheduleSpec, by: &Caller) -> String {
    if let AuthMethod::Token(id) = &by.principal.kind
        && db.tokens().await.unwrap().iter().all(|token| token.id != *id)
    {
        let (role, scope) = (Role::Admin, Scope::All);
        let new = NewToken { id: id.clone(), name: by.principal.subject.clone(), role, scope, expires_at: None };
        create_token(db, &new, &SecretHash::of(id), &Caller::local()).await.unwrap();
    }
    let id = ids::schedule_id();
    create(db, &id, wanted, None, by, |_| Value::Null).await.unwrap();
    id
}

/// A caller with an API token of this role and scope.
pub fn caller(name: &str, role: Role, scope: Scope) -> Caller {
    let kind = AuthMethod::Token(format!("tok_{name}"));
    let principal = Principal { subject: name.to_owned(), kind, role, scope, ..Principal::without_authentication() };
    Caller { principal: std::sync::Arc::new(principal), ..Caller::local() }
}

/// Makes the schedule due since the last full hour, `hours` before that.
pub async fn due(test: &TestDb, id: &str, hours: i32) -> DateTime<Utc> {
    let sql = "UPDATE schedules SET next_run_at = date_trunc('hour', now(), 'UTC') - $2 * interval '1 hour' WHERE id = $1 RETURNING next_run_at";
    sqlx::query_scalar(sql).bind(id).bind(hours).fetch_one(&mut test.psql().await).await.unwrap()
}

/// Makes the schedule due an instant ago: on time, whatever the minute.
pub async fn due_now(test: &TestDb, id: &str) -> DateTime<Utc> {
    let sql = "UPDATE schedules SET next_run_at = now() WHERE id = $1 RETURNING next_run_at";
    sqlx::query_scalar(sql).bind(id).fetch_one(&mut test.psql().await).await.unwrap()
}

/// Starts a due schedule, as a replica does without required sign-in.
pub async fn look(db: &Db) -> Option<ProcessedSchedule> {
    run_due_with(db, &SignIn::default()).await
}

/// Starts a due schedule, as a replica with these sign-in settings does.
pub async fn run_due_with(db: &Db, sign_in: &SignIn) -> Option<ProcessedSchedule> {
    run_due(db, Starter { names: &Names::default(), first_step: FIRST_STEP }, sign_in).await.unwrap()
}

/// The deployment that was started.
pub fn deployment(ran: Option<ProcessedSchedule>) -> String {
    match ran.and_then(|ran| ran.run) {
        Some(ScheduledRun::Started { deployment, .. }) => deployment,
        other => panic!("nothing was started: {other:?}"),
    }
}

pub async fn schedule(db: &Db, id: &str) -> ScheduleView {
    db.schedule(&Scope::All, id).await.unwrap().unwrap()
}

/// The records of its times, latest first.
pub async fn runs(db: &Db, id: &str) -> Vec<ScheduleRunView> {
    db.schedule_runs(id, &ScheduleRunFilter { before: None, limit: 100 }).await.unwrap()
}

/// Ends everything that runs.
pub async fn end_all(test: &TestDb) {
    let sql = "UPDATE deployments SET status = 'FAILED', error_code = 'CANCELLED', error_message = 'm', completed_at = now(), queued = false
               WHERE status IN ('RUNNING', 'DEPLOYMENT_READY')";
    sqlx::query(sql).execute(&mut test.psql().await).await.unwrap();
}
