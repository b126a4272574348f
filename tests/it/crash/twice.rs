//! Each step twice in a row: a replica that died before its commit leaves exactly that to the next.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use panda::domain::{Deployment, Facts};
use panda::metrics::Metrics;
use panda::steps::{Context, Past, Reporter, Resume, Services, Step, Then};
use pretty_assertions::assert_eq;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::scenario::{SCENARIOS, Scenario, Wish};
use crate::reconcile::what::{image, live};
use crate::reconcile::{Replica, deploy, deploy_what};
use crate::support::wait_for;
use crate::support::world::{World, tiny};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_run_twice_in_a_row_has_one_effect() {
    let world = World::with_files(tiny()).await;
    let mut ran = HashSet::new();
    for scenario in SCENARIOS {
        ran.extend(each_twice(&world.neighbour(tiny()).await, scenario).await);
    }
    let missing: Vec<_> = Step::NAMES.iter().filter(|step| !ran.contains(**step)).collect();
    assert!(
        missing.is_empty(),
        "no scenario comes to {missing:?}: add one that does to SCENARIOS in crash/scenario.rs"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_published_twice_in_a_row_is_pushed_once() {
    let world = World::with_files(tiny()).await;
    let replica = Replica::start(&world, &[]);
    let digest = live(&world).await;
    replica.stop().await;
    let services = Arc::new(
        panda::app::services(&world.config(&[]), Some(world.controller()), &Metrics::default()).await.unwrap(),
    );
    let id = deploy_what(&world, image(&digest)).await;
    let row = claimed(&world, &id).await;
    let step = Step::parse("push_image", &serde_json::json!({"image": "", "publish": digest})).unwrap();
    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut row = row.clone();
        ends.push(kind(&until_done(&world, &services, &mut row, &step, &SCENARIOS[0]).await));
        let published = row.facts.image_digest.unwrap();
        assert_eq!(world.sandbox.effects(&world.ecr_repository()).pushes.get(&published), Some(&1));
    }
    assert!(ends[0] == ends[1] && ends[0].starts_with("find_execution"), "{ends:?}");
}

/// How a step that was run until it did not ask to wait goes on.
enum End {
    Then(Then),
    Wish(Wish),
}

/// Goes through `scenario`, each step twice; the names of those that it came to.
async fn each_twice(world: &World, scenario: &Scenario) -> Vec<&'static str> {
    (scenario.trouble)(world);
    let services = Arc::new(
        panda::app::services(&world.config(&[]), Some(world.controller()), &Metrics::default()).await.unwrap(),
    );
    let id = deploy(world, "main").await;
    let mut row = claimed(world, &id).await;
    let mut ran = Vec::new();
    loop {
        let step = Step::parse(&row.step, &row.step_state).unwrap();
        ran.push(step.name());
        let first = until_done(world, &services, &mut row.clone(), &step, scenario).await;
        let second = until_done(world, &services, &mut row, &step, scenario).await;
        assert_eq!(kind(&first), kind(&second), "{}: {} goes on as the first time", scenario.name, step.name());
        let next = match second {
            End::Then(Then::Next(step)) => step,
            End::Then(Then::Ready(step)) => {
                row.status = panda::domain::Status::DeploymentReady;
                (row.step, row.step_state) = (step.name().to_owned(), step.state());
                row.switch_requested = scenario.wish(&row) == Some(Wish::Switch);
                step
            }
            End::Wish(Wish::Cancel) => step.cancelled().unwrap(),
            End::Then(Then::Failed { .. }) if is_retried(scenario, &row) => {
                Scenario::mend(world);
                retried(&mut row)
            }
            End::Then(Then::Completed) => break assert_eq!(scenario.end, ("COMPLETED", None)),
            End::Then(Then::Failed { code, .. }) => break assert_eq!(scenario.end, ("FAILED", Some(code.as_str()))),
            End::Wish(Wish::Switch | Wish::Retry) | End::Then(Then::Wait { .. }) => {
                panic!("{}: {}", step.name(), kind(&second))
            }
        };
        (row.step, row.step_state) = (next.name().to_owned(), next.state());
    }
    scenario.check_effects(world);
    ran
}

/// Whether a person asks for another attempt once it has failed.
fn is_retried(scenario: &Scenario, row: &Deployment) -> bool {
    let failed = Deployment { status: panda::domain::Status::Failed, ..row.clone() };
    scenario.wish(&failed) == Some(Wish::Retry)
}

/// The next attempt, as the API begins it.
fn retried(row: &mut Deployment) -> Step {
    let facts = std::mem::take(&mut row.facts);
    row.attempt += 1;
    row.facts = Facts { commit_sha: facts.commit_sha, image_digest: facts.image_digest, ..Facts::default() };
    let past = Past {
        execution_arn: facts.execution_arn,
        last_history_event_id: facts.last_history_event_id,
        code_deploy_deployment_id: facts.code_deploy_deployment_id,
        ..Past::default()
    };
    Resume { step: row.step.clone(), state: row.step_state.clone(), past: past.into() }.into()
}

/// Runs `step` until it does not ask to wait, or it is time to cancel.
async fn until_done(world: &World, services: &Services, row: &mut Deployment, step: &Step, scenario: &Scenario) -> End {
    let github = world.db.db.github_connection(&row.github_connection_id).await.unwrap().unwrap();
    let aws = world.db.db.aws_connection(&row.aws_connection_id).await.unwrap().unwrap();
    let user = services.aws.user(&aws.id, &row.region, &aws.credentials);
    let stopped = CancellationToken::new();
    let (reporter, mut told) = Reporter::new(1_000);
    let listening = tokio::spawn(async move { while told.recv().await.is_some() {} });
    let mut step = step.clone();
    let end = wait_for(&format!("{} is done", step.name()), async || {
        let context =
            Context { deployment: row, github: &github, user: &user, services, reporter: &reporter, stopped: &stopped };
        let outcome = step.run(&context).await.unwrap();
        row.facts.merge(outcome.learned);
        if scenario.wish(&*row) == Some(Wish::Cancel) {
            return Some(End::Wish(Wish::Cancel));
        }
        if let Then::Wait { step: again, .. } = outcome.then {
            step = again;
            tokio::time::sleep(Duration::from_millis(50)).await;
            return None;
        }
        Some(End::Then(outcome.then))
    })
    .await;
    drop(reporter);
    listening.await.unwrap();
    end
}

/// The row as its owner reads it: nobody else advances it.
async fn claimed(world: &World, id: &str) -> Deployment {
    let (db, me) = (&world.db.db, Uuid::now_v7());
    db.register_replica(me, uuid::Uuid::now_v7(), "test", Duration::from_mins(5)).await.unwrap();
    let all: Vec<String> = Step::NAMES.iter().map(|&name| name.to_owned()).collect();
    let ids = db.claim(me, 1, &all, 1, &Step::heavy_names()).await.unwrap();
    let ids: Vec<String> = ids.into_iter().map(|one| one.id).collect();
    assert_eq!(ids, [id]);
    db.load_owned(me, &ids).await.unwrap().pop().unwrap()
}

fn kind(end: &End) -> String {
    match end {
        End::Then(Then::Next(step) | Then::Ready(step)) => format!("{} {}", step.name(), step.state()),
        End::Then(other) => format!("{other:?}"),
        End::Wish(wish) => format!("{wish:?}"),
    }
}
