//! Each step runs twice in a row, which is the state that a replica leaves when it dies before its commit.

use std::collections::HashSet;
use std::time::Duration;

use panda::domain::deployment::RequestedRollback;
use panda::domain::{Deployment, Facts};
use panda::steps::{Reporter, Resume, Services, Step, StepContext, Transition};
use panda_sandbox::RolloutStyle;
use pretty_assertions::assert_eq;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::scenario::{Command, OF_ECS, SCENARIOS, Scenario};
use crate::reconcile::deploy_source::{image, live};
use crate::reconcile::duplicate_executions::{executions, followed, redelivered};
use crate::reconcile::{Replica, deploy, deploy_what};
use crate::support::environment::InProcess as _;
use crate::support::environment::{Environment, tiny};
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twice__each_step_has_one_effect() {
    let env = Environment::with_files(tiny()).await;
    let mut ran = HashSet::new();
    for scenario in SCENARIOS {
        let style = RolloutStyle::CodeDeploy;
        ran.extend(Box::pin(each_twice(&env.neighbour(tiny()).await, scenario, style)).await);
    }
    for scenario in SCENARIOS.iter().chain(OF_ECS).filter(|scenario| scenario.name != "succeeded_without_approval") {
        ran.extend(Box::pin(each_twice(&env.neighbour(tiny()).await, scenario, RolloutStyle::BlueGreen)).await);
    }
    let missing: Vec<_> = Step::NAMES.iter().filter(|step| !ran.contains(**step)).collect();
    assert!(missing.is_empty(), "no scenario reaches {missing:?}: add one that does to SCENARIOS in crash/scenario.rs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twice__image_pushed_once() {
    let env = Environment::with_files(tiny()).await;
    let replica = Replica::start(&env, &[]);
    let digest = live(&env).await;
    replica.stop().await;
    let services = env.services().await;
    let id = deploy_what(&env, image(&digest)).await;
    let row = claimed(&env, &id).await;
    let step = Step::parse("push_image", &serde_json::json!({"image": "", "publish": digest}).to_string()).unwrap();
    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut row = row.clone();
        ends.push(kind(&until_done(&env, &services, &mut row, &step, &SCENARIOS[0]).await));
        let published = row.facts.image_digest.unwrap();
        assert_eq!(env.sandbox.effects(&env.ecr_repository()).pushes.get(&published), Some(&1));
    }
    assert!(ends[0] == ends[1] && ends[0].starts_with("find_execution"), "{ends:?}");
}

/// The tag of an existing image started no execution.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twice__image_pushed_again_once() {
    let env = Environment::with_files(tiny()).await;
    let replica = Replica::start(&env, &[]);
    let digest = live(&env).await;
    replica.stop().await;
    let services = env.services().await;
    let id = deploy_what(&env, image(&digest)).await;
    let mut row = claimed(&env, &id).await;
    let publish = Step::parse("push_image", &serde_json::json!({"image": "", "publish": digest}).to_string()).unwrap();
    until_done(&env, &services, &mut row, &publish, &SCENARIOS[0]).await;
    let existing = row.facts.image_digest.clone().unwrap();
    let step = Step::parse("push_image", r#"{"image": "", "again": true}"#).unwrap();
    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut row = row.clone();
        ends.push(kind(&until_done(&env, &services, &mut row, &step, &SCENARIOS[0]).await));
        let pushed = row.facts.image_digest.unwrap();
        assert_ne!(pushed, existing);
        assert_eq!(env.sandbox.effects(&env.ecr_repository()).pushes.get(&pushed), Some(&1));
    }
    assert!(ends[0] == ends[1] && ends[0].starts_with("find_execution"), "{ends:?}");
}

/// The followed execution ended, and the secret names the other one of the same push.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twice__same_other_execution_followed() {
    let env = Environment::with_files(tiny()).await;
    let replica = Replica::start(&env, &[]);
    let id = followed(&env).await;
    let (first, second) = redelivered(&env).await;
    replica.stop().await;
    executions(&env).await.stop(&first, "a duplicate").await.unwrap();
    let services = env.services().await;
    let row = claimed(&env, &id).await;
    let step = Step::parse(&row.step, &row.step_state).unwrap();
    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut row = row.clone();
        ends.push(kind(&until_done(&env, &services, &mut row, &step, &SCENARIOS[0]).await));
        assert_eq!(row.facts.execution_arn.as_deref(), Some(second.as_str()));
        assert_eq!(row.facts.last_history_event_id, Some(0), "it is read from its first event");
    }
    assert!(ends[0] == ends[1] && ends[0].starts_with("follow_execution"), "{ends:?}");
}

/// Outcome of a step that was run until it no longer asks to wait.
#[expect(clippy::large_enum_variant, reason = "one at a time")]
enum End {
    Then(Transition),
    Command(Command),
}

/// Runs `scenario` with each step twice; returns the names of the steps.
async fn each_twice(env: &Environment, scenario: &Scenario, style: RolloutStyle) -> Vec<&'static str> {
    scenario.prepare(env, style).await;
    let services = env.services().await;
    let id = deploy(env, "main").await;
    let mut row = claimed(env, &id).await;
    let mut ran = Vec::new();
    loop {
        let step = Step::parse(&row.step, &row.step_state).unwrap();
        ran.push(step.name());
        let first = until_done(env, &services, &mut row.clone(), &step, scenario).await;
        let second = until_done(env, &services, &mut row, &step, scenario).await;
        assert_eq!(kind(&first), kind(&second), "{}: {} has the outcome of the first run", scenario.name, step.name());
        let next = match second {
            End::Then(Transition::Next(step) | Transition::RunAgain(step)) => step,
            End::Then(Transition::Ready(step)) => {
                row.status = panda::domain::Status::DeploymentReady;
                (row.step, row.step_state) = (step.name().to_owned(), step.state().to_string());
                row.switch_requested = scenario.command(&row) == Some(Command::Switch);
                step
            }
            End::Command(Command::Cancel) => step.cancelled().unwrap(),
            End::Then(Transition::Failed { .. }) if is_retried(scenario, &row) => {
                Scenario::clear_faults(env);
                retried(&mut row)
            }
            End::Then(Transition::Completed(Some(watch))) if scenario.end.0 != "COMPLETED" => {
                row.status = panda::domain::Status::Completed;
                match scenario.command(&row) {
                    Some(Command::FailHook) => {
                        Scenario::fail_hook(env);
                        let id = row.facts.rollout().unwrap();
                        wait_for("the hook has failed", async || env.sandbox.is_ended(id.as_str())).await;
                    }
                    other => {
                        assert_eq!(other, Some(Command::Rollback));
                        row.rollback = Some(RequestedRollback { audit_id: 1, by: None });
                    }
                }
                watch
            }
            End::Then(Transition::Completed(_)) => break assert_eq!(scenario.end, ("COMPLETED", None)),
            End::Then(Transition::Failed { code, .. }) => {
                break assert_eq!(scenario.end, ("FAILED", Some(code.as_str())));
            }
            End::Command(Command::Switch | Command::Retry | Command::Rollback | Command::FailHook)
            | End::Then(Transition::Wait { .. }) => {
                panic!("{}: {}", step.name(), kind(&second))
            }
        };
        (row.step, row.step_state) = (next.name().to_owned(), next.state().to_string());
    }
    scenario.check_effects(env);
    ran
}

/// True if the scenario retries the failed deployment.
fn is_retried(scenario: &Scenario, row: &Deployment) -> bool {
    let failed = Deployment { status: panda::domain::Status::Failed, ..row.clone() };
    scenario.command(&failed) == Some(Command::Retry)
}

/// Begins the next attempt as the API does.
fn retried(row: &mut Deployment) -> Step {
    let facts = std::mem::take(&mut row.facts);
    row.attempt += 1;
    row.facts = Facts { commit_sha: facts.commit_sha, image_digest: facts.image_digest, ..Facts::default() };
    let past = Facts {
        execution_arn: facts.execution_arn,
        last_history_event_id: facts.last_history_event_id,
        code_deploy_deployment_id: facts.code_deploy_deployment_id,
        service_deployment_arn: facts.service_deployment_arn,
        ..Facts::default()
    };
    Resume { step: row.step.clone(), state: serde_json::from_str(&row.step_state).unwrap(), past: past.into() }.into()
}

/// Runs `step` until it no longer asks to wait, or the scenario cancels.
async fn until_done(
    env: &Environment,
    services: &Services,
    row: &mut Deployment,
    step: &Step,
    scenario: &Scenario,
) -> End {
    let github = env.db.db.github_connection(&row.github_connection_id).await.unwrap().unwrap();
    let aws = env.db.db.aws_connection(&row.aws_connection_id).await.unwrap().unwrap();
    let user = services.aws.user(&aws.id, &row.region, &aws.credentials);
    let stopped = CancellationToken::new();
    let (reporter, mut emitted) = Reporter::new(1_000);
    let listening = tokio::spawn(async move { while emitted.recv().await.is_some() {} });
    let mut step = step.clone();
    let end = wait_for(&format!("{} is done", step.name()), async || {
        let context = StepContext {
            deployment: row,
            github: &github,
            aws: &aws,
            user: &user,
            services,
            expects_news: false,
            reporter: &reporter,
            stopped: &stopped,
        };
        let outcome = step.run(&context).await.unwrap();
        row.facts.merge(outcome.facts);
        if scenario.command(&*row) == Some(Command::Cancel) {
            return Some(End::Command(Command::Cancel));
        }
        if let Transition::Wait { step: again, .. } = outcome.transition {
            step = again;
            tokio::time::sleep(Duration::from_millis(50)).await;
            return None;
        }
        Some(End::Then(outcome.transition))
    })
    .await;
    drop(reporter);
    listening.await.unwrap();
    end
}

/// The row as its owner reads it; no other process advances it.
async fn claimed(env: &Environment, id: &str) -> Deployment {
    let (db, me) = (&env.db.db, Uuid::now_v7());
    db.register_replica(me, uuid::Uuid::now_v7(), "test", Duration::from_mins(5)).await.unwrap();
    let all: Vec<String> = Step::NAMES.iter().map(|&name| name.to_owned()).collect();
    let ids = db.claim(me, 1, &all, 1, &Step::heavy_names()).await.unwrap();
    let ids: Vec<String> = ids.into_iter().map(|one| one.id).collect();
    assert_eq!(ids, [id]);
    db.load_owned(me, &ids).await.unwrap().pop().unwrap()
}

fn kind(end: &End) -> String {
    match end {
        End::Then(Transition::Next(step) | Transition::Ready(step)) => format!("{} {}", step.name(), step.state()),
        End::Then(other) => format!("{other:?}"),
        End::Command(command) => format!("{command:?}"),
    }
}
