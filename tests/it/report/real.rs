//! What reports say of deployments that really happened.

use panda::domain::deployment::Concurrency;
use panda::sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;

use super::{VIEWS, json, lines, reporter};
use crate::reconcile::{Replica, deploy, deploy_as, status};
use crate::support::wishes::Wishes;
use crate::support::world::{World, hello};

async fn completed(world: &World, id: &str) {
    status(world, id, &["DEPLOYMENT_READY"]).await;
    world.db.db.request_switch(id).await.unwrap();
    world.db.db.notify_work(id).await.unwrap();
    status(world, id, &["COMPLETED"]).await;
}

async fn failed(world: &World, id: &str) {
    status(world, id, &["FAILED"]).await;
}

/// A deployment of each kind of end.
struct Ends {
    plain: String,
    retried: String,
    cancelled: String,
    superseded: String,
    newer: String,
    broken: String,
}

async fn every_end(world: &World) -> Ends {
    let replica = Replica::start(world, &[]);
    let db = &world.db.db;
    let plain = deploy(world, "main").await;
    completed(world, &plain).await;
    let fault = ExecutionFault {
        state: "EnsureInfra".into(),
        outcome: Outcome::Fail { error: "Lambda.Unknown".into(), cause: "the task broke".into() },
    };
    world.sandbox.faults().set(Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() });
    let retried = deploy(world, "main").await;
    failed(world, &retried).await;
    world.sandbox.faults().clear();
    db.request_retry(&retried).await.unwrap();
    db.notify_work(&retried).await.unwrap();
    completed(world, &retried).await;
    let cancelled = deploy(world, "main").await;
    status(world, &cancelled, &["DEPLOYMENT_READY"]).await;
    db.request_cancel(&cancelled).await.unwrap();
    db.notify_work(&cancelled).await.unwrap();
    failed(world, &cancelled).await;
    let superseded = deploy(world, "main").await;
    status(world, &superseded, &["DEPLOYMENT_READY"]).await;
    let (newer, _) = deploy_as(world, Concurrency::Supersede).await;
    failed(world, &superseded).await;
    completed(world, &newer).await;
    let broken = deploy(world, "no-such-branch").await;
    failed(world, &broken).await;
    replica.stop().await;
    Ends { plain, retried, cancelled, superseded, newer, broken }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_of_every_end_are_reported_as_they_happened_before_and_after_they_are_archived() {
    let world = World::with_files(hello("2.0.0")).await;
    let Ends { plain, retried, cancelled, superseded, newer, broken } = every_end(&world).await;
    let db = &world.db.db;

    let psql = &mut reporter(&world.db).await;
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
    // Were it midnight meanwhile, it would be two days.
    let dora = "SELECT sum(deployments), sum(changes), sum(failed_changes), sum(restores), min(lead_time_median_seconds) > 0 AS lead
                FROM dora_daily_v1 WHERE level = 'all'";
    assert_eq!(lines(psql, dora).await, ["3|4|2|1|true"]);
    let events = format!(
        "SELECT count(*) = max(seq) AS whole, bool_and(owner = 'acme') AS joined FROM events_v1 WHERE deployment_id = '{plain}'"
    );
    assert_eq!(lines(psql, &events).await, ["true|true"]);

    // What is archived is reported as before, but for its events.
    let lasting: Vec<&str> = VIEWS.into_iter().filter(|view| *view != "events_v1").collect();
    let rows = |view: &str| {
        let whole = format!("SELECT * FROM {view}");
        format!(
            "SELECT to_jsonb(v) - 'archived_at' AS row FROM ({whole}) v ORDER BY (to_jsonb(v) - 'archived_at')::text"
        )
    };
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
}
