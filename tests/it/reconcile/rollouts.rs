//! One suite for both back ends: what Panda does with a rollout does not depend on who shifts the traffic.

use panda::db::deployments::DeploymentView;
use panda::domain::ErrorCode;
use panda_sandbox::{CallFault, ConsoleAct, ExecutionFault, Outcome, RolloutStyle, ShiftFault};
use pretty_assertions::assert_eq;

use super::cancel::cancel;
use super::retry::retry;
use super::{Replica, codes, deploy, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, hello};
use crate::support::wait_for;

/// Short turns: a turn lasts nine tenths of the interval.
const WATCHING: [&str; 1] = ["--watch-interval-ms=300"];

/// The call that lets a rollout proceed, and the one that shows it, of each back end.
const PROCEED: [&str; 2] = ["codedeploy:ContinueDeployment", "ecs:ContinueServiceDeployment"];
const OBSERVE: [&str; 3] =
    ["codedeploy:GetDeployment", "codedeploy:BatchGetDeployments", "ecs:DescribeServiceDeployments"];

macro_rules! on_both_back_ends {
    ($($name:ident),+ $(,)?) => {
        mod code_deploy {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::RolloutStyle::CodeDeploy).await; })+
        }
        mod ecs_native {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::RolloutStyle::BlueGreen).await; })+
        }
    };
}

on_both_back_ends! {
    switch__moves_traffic_once,
    switch__lost_reply_has_one_effect,
    switch__failed_shift_leaves_traffic_on_blue,
    cancel__ends_rollout_before_approval,
    ready__expires_at_deadline,
    ready__continued_at_aws_completes,
    ready__rolled_back_at_aws_is_retried,
    ready__denied_look_changes_nothing,
    watch__alarm_after_switch_rolls_back,
    watch__ends_once_blue_is_terminated,
    rollback__returns_traffic,
}

pub async fn with_style(style: RolloutStyle) -> Environment {
    let env = Environment::with_files(hello("2.0.0")).await;
    env.sandbox.faults().update(|faults| _ = faults.rollouts.insert("*".to_owned(), style));
    env
}

fn shift(env: &Environment, fault: Option<ShiftFault>) {
    env.sandbox.faults().update(|faults| match fault {
        Some(fault) => _ = faults.shifts.insert("*".to_owned(), fault),
        None => faults.shifts.clear(),
    });
}

fn calls(env: &Environment, calls: &[&str], fault: &CallFault) {
    env.sandbox.faults().update(|faults| {
        faults.calls = calls.iter().map(|call| ((*call).to_owned(), fault.clone())).collect();
    });
}

async fn view(env: &Environment, id: &str) -> DeploymentView {
    env.db.db.deployment(id).await.unwrap().unwrap()
}

pub async fn ready(env: &Environment) -> String {
    let id = deploy(env, "main").await;
    status(env, &id, &["DEPLOYMENT_READY"]).await;
    id
}

pub async fn approve(env: &Environment, id: &str) {
    env.db.db.request_switch(id).await.unwrap();
    env.db.db.notify_work(id).await.unwrap();
}

async fn switched(env: &Environment, fault: ShiftFault) -> String {
    shift(env, Some(fault));
    let id = ready(env).await;
    approve(env, &id).await;
    status(env, &id, &["COMPLETED"]).await;
    id
}

async fn serves(env: &Environment, id: &str) -> String {
    let url = view(env, id).await.facts.blue_url.expect("the production listener");
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

async fn fails(env: &Environment, id: &str, code: ErrorCode) -> DeploymentView {
    let failed = status(env, id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(code.as_str()), "{:?}", failed.error_message);
    failed
}

fn once(counts: &std::collections::BTreeMap<String, u32>) -> bool {
    counts.values().copied().collect::<Vec<_>>() == [1]
}

async fn switch__moves_traffic_once(style: RolloutStyle) {
    let env = with_style(style).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    assert!(!serves(&env, &id).await.contains("2.0.0"), "before the approval");
    wait_for("the deadline is known", async || view(&env, &id).await.facts.ready_until.is_some()).await;
    approve(&env, &id).await;
    let completed = status(&env, &id, &["COMPLETED"]).await;
    assert!(serves(&env, &id).await.contains("2.0.0"));
    assert_eq!(completed.facts.final_service.as_deref(), Some("green"));
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert!(once(&effects.continued) && once(&effects.shifted) && effects.stopped.is_empty(), "{effects:?}");
    let emitted = events(&env, &id).await;
    let emitted = codes(&emitted);
    let wanted = ["awaiting_switch", "ready", "switch_started", "deployment_completed", "completed"];
    let positions: Vec<_> = wanted.iter().map(|code| emitted.iter().position(|emitted| emitted == code)).collect();
    assert!(positions.iter().all(Option::is_some) && positions.is_sorted(), "{emitted:?}");
    replica.stop().await;
}

async fn switch__lost_reply_has_one_effect(style: RolloutStyle) {
    let env = with_style(style).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    calls(&env, &PROCEED, &CallFault { lose_reply: 1, ..CallFault::default() });
    approve(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert!(once(&effects.continued) && once(&effects.shifted), "{effects:?}");
    replica.stop().await;
}

async fn switch__failed_shift_leaves_traffic_on_blue(style: RolloutStyle) {
    let env = with_style(style).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    let (code, message) = ("HEALTH_CONSTRAINTS".to_owned(), "too few healthy targets".to_owned());
    shift(&env, Some(ShiftFault::Fail { code, message }));
    approve(&env, &id).await;
    let failed = fails(&env, &id, ErrorCode::SwitchFailed).await;
    assert!(failed.error_message.unwrap().contains("too few healthy targets"));
    assert!(!serves(&env, &id).await.contains("2.0.0"));
    replica.stop().await;
}

async fn cancel__ends_rollout_before_approval(style: RolloutStyle) {
    let env = with_style(style).await;
    let held = ExecutionFault { state: "CheckDeployment".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().update(|faults| _ = faults.executions.insert("*".to_owned(), held));
    let replica = Replica::start(&env, &WATCHING);
    let id = deploy(&env, "main").await;
    wait_for("the rollout is known", async || view(&env, &id).await.facts.rollout().is_some()).await;
    cancel(&env, &id).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert!(once(&effects.stopped) && effects.shifted.is_empty(), "{effects:?}");
    let rollout = view(&env, &id).await.facts.rollout().unwrap();
    assert!(env.sandbox.is_ended(rollout.as_str()), "its end is awaited");
    replica.stop().await;
}

async fn ready__expires_at_deadline(style: RolloutStyle) {
    let env = with_style(style).await;
    env.sandbox.faults().update(|faults| faults.ready_timeout_ms = Some(5_000));
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    let failed = fails(&env, &id, ErrorCode::SwitchExpired).await;
    assert!(chrono::Utc::now() >= failed.facts.ready_until.expect("AWS states the wait"));
    assert_eq!(failed.facts.final_service.as_deref(), Some("blue"));
    replica.stop().await;
}

async fn ready__continued_at_aws_completes(style: RolloutStyle) {
    let env = with_style(style).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    env.sandbox.console(&env.ecr_repository(), ConsoleAct::Continue);
    status(&env, &id, &["COMPLETED"]).await;
    let emitted = events(&env, &id).await;
    assert!(codes(&emitted).contains(&"continued_outside"), "{:?}", codes(&emitted));
    let shown = emitted.iter().find(|event| event.code == "continued_outside").unwrap();
    let details = shown.render(panda::domain::catalogue::Lang::En).details.unwrap();
    let rollout = view(&env, &id).await.facts.rollout().unwrap();
    let named =
        ["codeDeployDeploymentId", "serviceDeploymentArn"].map(|key| details.get(key).and_then(|id| id.as_str()));
    assert!(named.contains(&Some(rollout.as_str())), "{details:?}");
    replica.stop().await;
}

async fn ready__rolled_back_at_aws_is_retried(style: RolloutStyle) {
    let env = with_style(style).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    env.sandbox.console(&env.ecr_repository(), ConsoleAct::RollBack);
    let failed = fails(&env, &id, ErrorCode::StoppedWhileReady).await;
    assert!(failed.error_message.unwrap().contains("in the console"));
    retry(&env, &id).await;
    let again = status(&env, &id, &["DEPLOYMENT_READY"]).await;
    assert_ne!(again.facts.rollout(), failed.facts.rollout());
    approve(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    replica.stop().await;
}

async fn ready__denied_look_changes_nothing(style: RolloutStyle) {
    let env = with_style(style).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    calls(&env, &OBSERVE, &CallFault { deny: true, ..CallFault::default() });
    let denied = |env: &Environment| -> u32 {
        let calls = env.sandbox.all_effects().calls;
        OBSERVE.iter().filter_map(|call| calls.get(*call)).map(|count| count.received).sum()
    };
    let before = denied(&env);
    wait_for("looks are denied", async || denied(&env) > before + 3).await;
    assert_eq!(view(&env, &id).await.status, "DEPLOYMENT_READY");
    calls(&env, &[], &CallFault::default());
    approve(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    replica.stop().await;
}

async fn watch__alarm_after_switch_rolls_back(style: RolloutStyle) {
    let env = with_style(style).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = switched(&env, ShiftFault::HoldBlue).await;
    assert!(serves(&env, &id).await.contains("2.0.0"));
    env.sandbox.console(&env.ecr_repository(), ConsoleAct::Alarm);
    let failed = fails(&env, &id, ErrorCode::RolledBackAfterSwitch).await;
    assert!(failed.error_message.unwrap().to_lowercase().contains("alarm"));
    assert!(!serves(&env, &id).await.contains("2.0.0"));
    replica.stop().await;
}

async fn watch__ends_once_blue_is_terminated(style: RolloutStyle) {
    let env = with_style(style).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = switched(&env, ShiftFault::HoldBlue).await;
    assert!(view(&env, &id).await.watched);
    shift(&env, None);
    wait_for("it is watched no more", async || !view(&env, &id).await.watched).await;
    assert!(view(&env, &id).await.facts.blue_terminated_at.is_some());
    replica.stop().await;
}

async fn rollback__returns_traffic(style: RolloutStyle) {
    let env = with_style(style).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = switched(&env, ShiftFault::HoldBlue).await;
    env.db.db.request_rollback(&id, None).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    let failed = fails(&env, &id, ErrorCode::RolledBackAfterSwitch).await;
    assert!(failed.facts.restored_at.is_some());
    assert!(!serves(&env, &id).await.contains("2.0.0"));
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert!(once(&effects.stopped), "{effects:?}");
    let emitted = events(&env, &id).await;
    let emitted = codes(&emitted);
    let rolled_back = ["rollback_started", "rollback_returning", "rollback_completed", "rolled_back_after_switch"];
    assert!(emitted.ends_with(&rolled_back), "{emitted:?}");
    replica.stop().await;
}
