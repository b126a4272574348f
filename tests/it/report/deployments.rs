//! Reports about real deployments.

use panda::domain::deployment::Concurrency;
use panda_sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;

use super::{VIEWS, json, lines, reporter};
use crate::reconcile::{Replica, deploy, deploy_as, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, hello};

async fn completed(env: &Environment, id: &str) {
    status(env, id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_switch(id).await.unwrap();
    env.db.db.notify_work(id).await.unwrap();
    status(env, id, &["COMPLETED"]).await;
}

async fn failed(env: &Environment, id: &str) {
    status(env, id, &["FAILED"]).await;
}

/// A deployment of each final status.
struct Ends {
    plain: String,
    retried: String,
    cancelled: String,
    superseded: String,
    newer: String,
    broken: String,
}

async fn every_end(env: &Environment) -> Ends {
    let replica = Replica::start(env, &[]);
    let db = &env.db.db;
    let plain = deploy(env, "main").await;
    completed(env, &plain).await;
    let fault = ExecutionFault {
        state: "EnsureInfra".into(),
        outcome: Outcome::Fail { error: "Lambda.Unknown".into(), cause: "the task broke".into() },
    };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() });
    let retried = deploy(env, "main").await;
    failed(env, &retried).await;
    env.sandbox.faults().clear();
    db.request_retry(&retried).await.unwrap();
    db.notify_work(&retried).await.unwrap();
    completed(env, &retried).await;
    let cancelled = deploy(env, "main").await;
    status(env, &cancelled, &["DEPLOYMENT_READY"]).await;
    db.request_cancel(&cancelled).await.unwrap();
    db.notify_work(&cancelled).await.unwrap();
    failed(env, &cancelled).await;
    let superseded = deploy(env, "main").await;
    status(env, &superseded, &["DEPLOYMENT_READY"]).await;
    let (newer, _) = deploy_as(env, Concurrency::Supersede).await;
    failed(env, &superseded).await;
    completed(env, &newer).await;
    let broken = deploy(env, "no-such-branch").await;
    failed(env, &broken).await;
    replica.stop().await;
    Ends { plain, retried, cancelled, superseded, newer, broken }
}

/// Query of a view's rows without the times of archiving, in a fixed order.
fn rows(view: &str) -> String {
    let row = "to_jsonb(v) - 'archived_at' - 'updated_at'";
    format!("SELECT {row} AS row FROM (SELECT * FROM {view}) v ORDER BY ({row})::text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn report_views__real_deployments_reported_before_and_after_archiving() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let Ends { plain, retried, cancelled, superseded, newer, broken } = every_end(&env).await;
    let db = &env.db.db;

    let psql = &mut reporter(&env.db).await;
    let ends =
        "SELECT deployment_id, outcome, attempts, error_code, final_service FROM deployments_v1 ORDER BY started_at";
    assert_eq!(
        lines(psql, ends).await,
        [
            format!("{plain}|completed|1||green"),
            format!("{retried}|completed|2||green"),
            format!("{cancelled}|cancelled|1|CANCELLED|"),
            format!("{superseded}|superseded|1|CANCELLED|"),
            format!("{newer}|completed|1||green"),
            format!("{broken}|failed|1|BRANCH_NOT_FOUND|"),
        ]
    );
    // The source was fetched from a real git server; a retry keeps what is known of the commit.
    let commits = "SELECT count(*), count(commit_author) FILTER (WHERE commit_author <> '' AND commit_author NOT LIKE '%@%'), count(commit_subject) FROM deployments_v1";
    assert_eq!(lines(psql, commits).await, ["6|5|5"]);
    let failures =
        "SELECT deployment_id, attempt, outcome, error_code, stage, retried FROM failures_v1 ORDER BY failed_at";
    assert_eq!(
        lines(psql, failures).await,
        [
            format!("{retried}|1|failed|EXECUTION_FAILED|Stage 3|true"),
            format!("{cancelled}|1|cancelled|CANCELLED|Stage 4|false"),
            format!("{superseded}|1|superseded|CANCELLED|Stage 4|false"),
            format!("{broken}|1|failed|BRANCH_NOT_FOUND|Stage 1|false"),
        ]
    );
    let who = "SELECT action, deployment_id, attempt FROM approvals_v1 ORDER BY at";
    assert_eq!(
        lines(psql, who).await,
        [
            format!("switch|{plain}|1"),
            format!("retry|{retried}|2"),
            format!("switch|{retried}|2"),
            format!("cancel|{cancelled}|1"),
            format!("supersede|{superseded}|1"),
            format!("switch|{newer}|1"),
        ]
    );
    let stages = format!(
        "SELECT stage, waiting_seconds > 0 AS waited, tries > 0 AS tried, ended_at IS NOT NULL AS ended FROM stages_v1
         WHERE deployment_id = '{plain}' ORDER BY started_at, stage"
    );
    let stages = lines(psql, &stages).await;
    let names = ["Step 1", "Step 2", "Stage 1", "Stage 2", "Stage 3", "Stage 4"];
    assert_eq!(stages, names.map(|name| format!("{name}|{}|true|true", name == "Stage 4")));
    let waits = "SELECT deployment_id, state, waited_seconds > 0 AS waited FROM queue_v1";
    assert_eq!(lines(psql, waits).await, [format!("{newer}|started|true")]);
    // The sums span two days when the test runs over midnight.
    let dora = "SELECT sum(deployments), sum(changes), sum(failed_changes), sum(restores), min(lead_time_median_seconds) > 0 AS lead
                FROM dora_daily_v1 WHERE level = 'all'";
    assert_eq!(lines(psql, dora).await, ["3|4|2|1|true"]);
    let events = format!(
        "SELECT count(*) = max(seq) AS whole, bool_and(owner = 'acme') AS joined FROM events_v1 WHERE deployment_id = '{plain}'"
    );
    assert_eq!(lines(psql, &events).await, ["true|true"]);

    // AWS can change the switched ones no more, so that they may be archived.
    db.end_overdue_watches(std::time::Duration::ZERO).await.unwrap();
    // Archived deployments are reported as before, except for their events.
    let lasting: Vec<&str> =
        VIEWS.into_iter().filter(|view| !["events_v1", "measurements_v1", "step_runs_v1"].contains(view)).collect();
    let mut before = Vec::new();
    for view in &lasting {
        before.push(json(psql, &rows(view)).await);
    }
    let all = [&plain, &retried, &cancelled, &superseded, &newer, &broken].map(Clone::clone);
    assert_eq!(db.archive_deployments(&all).await.unwrap().len(), all.len());
    for (view, before) in lasting.iter().zip(before) {
        assert!(!before.is_empty(), "{view}");
        assert_eq!(json(psql, &rows(view)).await, before, "{view}");
    }
    assert_eq!(lines(psql, "SELECT count(*) FROM events_v1").await, ["0"]);
    assert_eq!(lines(psql, "SELECT count(*) FROM step_runs_v1").await, ["0"]);
}
