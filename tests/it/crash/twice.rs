//! Each step twice in a row: a replica that died before its commit leaves exactly that to the next.

use std::sync::Arc;
use std::time::Duration;

use panda::domain::Deployment;
use panda::steps::{Context, Outcome, Reporter, Services, Step, Then};
use pretty_assertions::assert_eq;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::reconcile::deploy;
use crate::support::wait_for;
use crate::support::world::{World, tiny};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_run_twice_in_a_row_has_one_effect() {
    let world = World::with_files(tiny()).await;
    let services = Arc::new(panda::app::services(&world.config(&[]), Some(world.controller())).await.unwrap());
    let id = deploy(&world, "main").await;
    let mut row = claimed(&world, &id).await;
    let mut ran = Vec::new();
    loop {
        let step = Step::parse(&row.step, &row.step_state).unwrap();
        ran.push(step.name());
        let first = until_done(&world, &services, &mut row.clone(), &step).await;
        let second = until_done(&world, &services, &mut row, &step).await;
        assert_eq!(kind(&first.then), kind(&second.then), "{} goes on as the first time", step.name());
        row.facts.merge(second.learned);
        match second.then {
            Then::Next(step) => (row.step, row.step_state) = (step.name().to_owned(), step.state()),
            Then::Ready(step) => {
                (row.step, row.step_state) = (step.name().to_owned(), step.state());
                row.switch_requested = true;
            }
            Then::Completed => break,
            then @ (Then::Wait { .. } | Then::Failed { .. }) => panic!("{}: {then:?}", step.name()),
        }
    }
    assert_eq!(ran, Step::NAMES, "every step had its turn");
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!((effects.created, effects.rules.len(), effects.targets.len()), (1, 1, 1));
    for counters in [&effects.pushes, &effects.executions, &effects.continued, &effects.shifted] {
        assert_eq!(counters.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    }
    assert_eq!(world.sandbox.all_effects().permissions.values().copied().collect::<Vec<_>>(), [1]);
}

/// Runs `step` until it does not ask to wait.
async fn until_done(world: &World, services: &Services, row: &mut Deployment, step: &Step) -> Outcome {
    let github = world.db.db.github_connection(&row.github_connection_id).await.unwrap().unwrap();
    let aws = world.db.db.aws_connection(&row.aws_connection_id).await.unwrap().unwrap();
    let user = services.aws.user(&aws.id, &row.region, &aws.credentials);
    let stopped = CancellationToken::new();
    let (reporter, mut told) = Reporter::new(1_000);
    let listening = tokio::spawn(async move { while told.recv().await.is_some() {} });
    let mut step = step.clone();
    let outcome = wait_for(&format!("{} is done", step.name()), async || {
        let context =
            Context { deployment: row, github: &github, user: &user, services, reporter: &reporter, stopped: &stopped };
        let outcome = step.run(&context).await.unwrap();
        if let Then::Wait { step: again, .. } = outcome.then {
            row.facts.merge(outcome.learned);
            step = again;
            tokio::time::sleep(Duration::from_millis(50)).await;
            return None;
        }
        Some(outcome)
    })
    .await;
    drop(reporter);
    listening.await.unwrap();
    outcome
}

/// The row as its owner reads it: nobody else advances it.
async fn claimed(world: &World, id: &str) -> Deployment {
    let (db, me) = (&world.db.db, Uuid::now_v7());
    db.register_replica(me, "test", Duration::from_mins(5)).await.unwrap();
    let all: Vec<String> = Step::NAMES.iter().map(|&name| name.to_owned()).collect();
    let ids = db.claim(me, 1, &all, 1, &Step::heavy_names()).await.unwrap();
    assert_eq!(ids, [id]);
    db.load_owned(me, &ids).await.unwrap().pop().unwrap()
}

fn kind(then: &Then) -> String {
    match then {
        Then::Next(step) | Then::Ready(step) => format!("{} {}", step.name(), step.state()),
        other => format!("{other:?}"),
    }
}
