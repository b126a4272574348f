//! What only ECS's own rollouts have: several pauses, parts of the traffic, and revisions that may run another image.

use panda::domain::ErrorCode;
use panda_sandbox::{ConsoleAct, RolloutStyle};
use pretty_assertions::assert_eq;
use serde_json::Value;

use super::rollouts::{approve, ready, with_style};
use super::{Replica, codes, events, status};
use crate::support::environment::{Environment, hello};
use crate::support::panda::Panda;
use crate::support::wait_for;

const WATCHING: [&str; 1] = ["--watch-interval-ms=300"];
pub const CANARY: RolloutStyle = RolloutStyle::Canary { percent: 20 };

/// Waits until the deployment awaits the approval of its second pause.
pub async fn second_pause(env: &Environment, id: &str) {
    wait_for("the second pause awaits approval", async || {
        let emitted = events(env, id).await;
        emitted.iter().filter(|event| event.code == "awaiting_switch").count() == 2
    })
    .await;
}

/// Percentage of requests that the new version answers.
async fn new_answers(env: &Environment, id: &str, version: &str) -> usize {
    let url = env.db.db.deployment(id).await.unwrap().unwrap().facts.blue_url.unwrap();
    let mut answers = 0;
    for _ in 0..100 {
        answers += usize::from(reqwest::get(&url).await.unwrap().text().await.unwrap().contains(version));
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canary__each_pause_needs_its_own_approval() {
    let env = with_style(CANARY).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    approve(&env, &id).await;
    second_pause(&env, &id).await;
    assert_eq!(new_answers(&env, &id, "2.0.0").await, 20);
    let waiting = env.db.db.deployment(&id).await.unwrap().unwrap();
    assert_eq!((waiting.status.as_str(), waiting.step.as_str()), ("DEPLOYMENT_READY", "await_switch"));
    assert_eq!(waiting.switch_requested_at, None, "the first approval was for the first pause");
    assert_eq!(waiting.facts.green_weight, Some(20.0));
    approve(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    assert_eq!(new_answers(&env, &id, "2.0.0").await, 100);
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.continued.values().copied().collect::<Vec<_>>(), [2], "{effects:?}");
    let emitted = events(&env, &id).await;
    let emitted = codes(&emitted);
    let moved = emitted.iter().position(|code| *code == "traffic_shifted");
    assert!(moved < emitted.iter().rposition(|code| *code == "awaiting_switch"), "{emitted:?}");
    let count = |code: &str| emitted.iter().filter(|emitted| **emitted == code).count();
    assert_eq!((count("switch_started"), count("traffic_shifted"), count("ready")), (2, 1, 1), "{emitted:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canary__second_pause_may_be_rolled_back() {
    let env = with_style(CANARY).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    approve(&env, &id).await;
    second_pause(&env, &id).await;
    env.sandbox.console(&env.ecr_repository(), ConsoleAct::Alarm);
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::RolledBackAfterSwitch.as_str()));
    assert!(failed.error_message.unwrap().contains("checkout-errors"), "the alarm is named");
    assert_eq!(new_answers(&env, &id, "2.0.0").await, 0);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canary__continued_at_aws_awaits_approval_of_next_pause() {
    let env = with_style(CANARY).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    wait_for("the first pause is known", async || {
        env.db.db.deployment(&id).await.unwrap().unwrap().facts.ready_until.is_some()
    })
    .await;
    env.sandbox.console(&env.ecr_repository(), ConsoleAct::Continue);
    second_pause(&env, &id).await;
    let emitted = events(&env, &id).await;
    assert!(codes(&emitted).contains(&"continued_outside"), "{:?}", codes(&emitted));
    approve(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linear__shows_each_part() {
    let env = with_style(RolloutStyle::Linear { step_percent: 50 }).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    approve(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    assert_eq!(new_answers(&env, &id, "2.0.0").await, 100);
    replica.stop().await;
}

/// A pipeline that reports the deployment of before: its success is not that of the new image.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revision__of_another_image_is_refused() {
    let env = with_style(RolloutStyle::BlueGreen).await;
    let replica = Replica::start(&env, &WATCHING);
    let before = ready(&env).await;
    approve(&env, &before).await;
    let before = status(&env, &before, &["COMPLETED"]).await;
    let arn = before.facts.service_deployment_arn.unwrap();
    wait_for("the first rollout has ended", async || env.sandbox.is_ended(&arn)).await;
    env.sandbox.faults().update(|faults| faults.reported_deployment_id = Some(arn.clone()));
    env.github
        .repositories()
        .commit(crate::support::environment::OWNER, &env.repo, "main", hello("3.0.0"))
        .await
        .unwrap();
    let id = super::deploy(&env, "main").await;
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::ExecutionOutputInvalid.as_str()));
    let message = failed.error_message.unwrap();
    assert!(message.contains(&arn) && message.contains("sha256:"), "{message}");
    replica.stop().await;
}

/// The check before the next deployment looks at the newest rollout: its service pauses, and the permissions of ECS are needed instead of CodeDeploy's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check__looks_at_newest_rollout_of_ecs() {
    let env = with_style(CANARY).await;
    let panda = Panda::builder().environment(&env).server().await;
    ready(&env).await;
    let (_, listed) = panda.get("/connections").await;
    let id = |kind: &str| listed["data"][kind][0]["connectionId"].as_str().unwrap().to_owned();
    let path = format!("/connect/aws/{}/check?githubConnectionId={}", id("aws"), id("github"));
    let (status, answer) = panda.post(&path, &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let items = answer["data"]["items"].as_array().unwrap();
    let calls = ["DescribeServiceDeployments", "DescribeServiceRevisions", "ListServiceDeployments"];
    let wanted = calls.map(|call| format!("user.ecs:{call}")).into_iter().chain(["serviceDeployment".to_owned()]);
    for id in wanted {
        let item = items.iter().find(|item| item["id"] == id.as_str()).unwrap_or_else(|| panic!("{id}: {answer:#}"));
        assert_eq!(item["state"], "present", "{item:#}");
    }
    assert!(items.iter().all(|item| item["id"] != "user.codedeploy:ContinueDeployment"), "{answer:#}");
    panda.stop().await;
}
