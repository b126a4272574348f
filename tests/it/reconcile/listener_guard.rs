//! The listener guard on real parts: weights that others changed, targets that do not answer, and load balancers that may not or cannot be read.

use panda::db::deployments::DeploymentView;
use panda::domain::StoredEvent;
use panda::domain::catalogue::Lang;
use panda_sandbox::git::SourceFile;
use panda_sandbox::{CallFault, Faults, RolloutStyle};
use pretty_assertions::assert_eq;

use super::cancel::cancel;
use super::ecs_rollouts::{CANARY, second_pause};
use super::rollouts::with_style;
use super::{Replica, codes, deploy, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, hello};
use crate::support::wait_for;

/// The watch does not look: nothing but the guard reads the listener.
const NOT_WATCHING: [&str; 1] = ["--watch-interval-ms=600000"];

async fn view(env: &Environment, id: &str) -> DeploymentView {
    env.db.db.deployment(id).await.unwrap().unwrap()
}

async fn request(env: &Environment, id: &str) {
    env.db.db.request_switch(id).await.unwrap();
    env.db.db.notify_work(id).await.unwrap();
}

/// Deploys until the switch can be requested.
async fn ready(env: &Environment) -> String {
    let id = deploy(env, "main").await;
    status(env, &id, &["DEPLOYMENT_READY"]).await;
    id
}

/// Refusals of the switch, oldest first.
async fn refusals(env: &Environment, id: &str) -> Vec<StoredEvent> {
    events(env, id).await.into_iter().filter(|event| event.code == "switch_refused").collect()
}

/// Requests the switch and waits for its refusal, the `number`th; returns the event's text.
async fn refused(env: &Environment, id: &str, number: usize) -> String {
    let before = continued(env);
    request(env, id).await;
    wait_for("the switch is refused", async || refusals(env, id).await.len() == number).await;
    let now = view(env, id).await;
    assert_eq!((now.status.as_str(), now.step.as_str()), ("DEPLOYMENT_READY", "await_switch"));
    assert_eq!((now.switch_requested_at, now.error_code), (None, None), "the request is over");
    assert_eq!(continued(env), before, "nothing was moved");
    refusals(env, id).await[number - 1].render(Lang::En).message
}

fn continued(env: &Environment) -> Vec<u32> {
    env.sandbox.effects(&env.ecr_repository()).continued.values().copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_guard__reset_weights_refuse_the_switch_until_restored() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &NOT_WATCHING);
    let id = ready(&env).await;
    let known = view(&env, &id).await.facts;
    assert_eq!(known.listener_routes.expect("routes when green became ready").len(), 1);
    let url = known.blue_url.unwrap();
    let serves = async || reqwest::get(&url).await.unwrap().text().await.unwrap();

    // Infrastructure code sends everything to what it takes for the live target group: production serves green, which no approver has switched to.
    env.sandbox.set_weights(&env.ecr_repository(), 0, 100);
    assert!(serves().await.contains("2.0.0"));
    let said = refused(&env, &id, 1).await;
    assert!(said.contains("was changed since green became ready"), "{said}");
    assert!(said.contains("-1 100 %") && said.contains("-2 100 %") && said.contains("restore"), "{said}");
    // Half of it: another request checks again, and is answered again.
    env.sandbox.set_weights(&env.ecr_repository(), 50, 50);
    let said = refused(&env, &id, 2).await;
    assert!(said.contains("-1 50 %") && said.contains("-2 50 %"), "{said}");

    env.sandbox.set_weights(&env.ecr_repository(), 1, 0);
    assert!(!serves().await.contains("2.0.0"));
    request(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    assert_eq!(continued(&env), [1]);
    assert!(serves().await.contains("2.0.0"));
    let emitted = events(&env, &id).await;
    let emitted = codes(&emitted);
    let end = ["ready", "switch_refused", "switch_started", "deployment_completed", "completed"];
    assert_eq!(emitted[emitted.len() - end.len()..], end);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_guard__green_that_does_not_answer_is_refused() {
    let files = vec![
        SourceFile::new("Dockerfile", "FROM busybox:1\nCMD exec sleep 100000\n"),
        SourceFile::new("panda.toml", "[health_check]\nskip = true\n"),
    ];
    let env = Environment::with_files(files).await;
    let replica = Replica::start(&env, &NOT_WATCHING);
    let id = ready(&env).await;
    let said = refused(&env, &id, 1).await;
    assert!(said.contains("0 of 1 targets") && said.contains("Target.FailedHealthChecks"), "{said}");
    // A deployer may cancel it: the traffic stays on blue.
    let cancelled = cancel(&env, &id).await;
    assert_eq!(cancelled.error_code.as_deref(), Some("CANCELLED"));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_guard__denied_calls_do_not_prevent_the_switch() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let denied = CallFault { deny: true, ..CallFault::default() };
    let call = "elasticloadbalancing:DescribeRules".to_owned();
    env.sandbox.faults().set(Faults { calls: [(call, denied)].into(), ..Faults::default() });
    let replica = Replica::start(&env, &NOT_WATCHING);
    let id = ready(&env).await;
    assert_eq!(view(&env, &id).await.facts.listener_routes, None);
    env.sandbox.set_weights(&env.ecr_repository(), 0, 100);
    request(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    let emitted = events(&env, &id).await;
    let unchecked: Vec<&StoredEvent> = emitted.iter().filter(|event| event.code == "listener_unchecked").collect();
    assert_eq!(unchecked.len(), 1, "{:?}", codes(&emitted));
    assert!(unchecked[0].render(Lang::En).message.contains("elasticloadbalancing:DescribeRules"));
    assert_eq!(continued(&env), [1]);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_guard__waits_while_throttled_or_unavailable() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &NOT_WATCHING);
    let id = ready(&env).await;
    // More than the SDK's own retries.
    let throttled = CallFault { throttle: 4, ..CallFault::default() };
    let failing = CallFault { fail: 4, ..CallFault::default() };
    env.sandbox.faults().update(|faults| {
        faults.calls.insert("elasticloadbalancing:DescribeTargetHealth".to_owned(), throttled);
        faults.calls.insert("elasticloadbalancing:DescribeRules".to_owned(), failing);
    });
    request(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    let emitted = events(&env, &id).await;
    assert!(!codes(&emitted).contains(&"switch_refused"), "{:?}", codes(&emitted));
    let calls = env.sandbox.all_effects().calls;
    for call in ["DescribeRules", "DescribeTargetHealth"].map(|call| &calls[&format!("elasticloadbalancing:{call}")]) {
        assert_eq!(call.received - call.succeeded, 4, "{calls:?}");
    }
    assert_eq!(continued(&env), [1]);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_guard__unanswered_until_the_limit_keeps_the_deployment_ready() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &["--watch-interval-ms=600000", "--switch-limit-ms=1500"]);
    let id = ready(&env).await;
    let failing = CallFault { fail: u32::MAX, ..CallFault::default() };
    let call = "elasticloadbalancing:DescribeRules".to_owned();
    env.sandbox.faults().set(Faults { calls: [(call, failing)].into(), ..Faults::default() });
    let said = refused(&env, &id, 1).await;
    assert!(said.contains("could not be read within the time limit"), "{said}");
    env.sandbox.faults().clear();
    request(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_guard__turned_off_reads_nothing() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &["--watch-interval-ms=600000", "--listener-guard=false"]);
    let id = ready(&env).await;
    env.sandbox.set_weights(&env.ecr_repository(), 50, 50);
    request(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    let calls = env.sandbox.all_effects().calls;
    assert!(calls.keys().all(|call| !call.starts_with("elasticloadbalancing:")), "{calls:?}");
    replica.stop().await;
}

/// ECS shifts in parts: the share that it has set is what the rule must send, before each part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_guard__weights_reset_between_parts_of_ecs_are_a_conflict() {
    let env = with_style(CANARY).await;
    let replica = Replica::start(&env, &NOT_WATCHING);
    let id = ready(&env).await;
    let set = |blue: u32, green: u32| env.sandbox.set_weights(&env.ecr_repository(), blue, green);
    set(50, 50);
    let said = refused(&env, &id, 1).await;
    assert!(said.contains("-1 50 %") && said.contains("0 % on green"), "{said}");
    set(100, 0);
    request(&env, &id).await;
    second_pause(&env, &id).await;
    set(100, 0);
    let said = refused(&env, &id, 2).await;
    assert!(said.contains("-1 100 %") && said.contains("20 % on green") && said.contains("restore"), "{said}");
    assert_eq!(continued(&env), [1]);
    set(80, 20);
    request(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    assert_eq!(continued(&env), [2]);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_guard__denied_calls_do_not_prevent_the_switch_of_ecs() {
    let env = with_style(RolloutStyle::BlueGreen).await;
    let denied = CallFault { deny: true, ..CallFault::default() };
    env.sandbox
        .faults()
        .update(|faults| _ = faults.calls.insert("elasticloadbalancing:DescribeTargetHealth".to_owned(), denied));
    let replica = Replica::start(&env, &NOT_WATCHING);
    let id = ready(&env).await;
    env.sandbox.set_weights(&env.ecr_repository(), 0, 100);
    request(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    let emitted = events(&env, &id).await;
    let unchecked: Vec<&StoredEvent> = emitted.iter().filter(|event| event.code == "listener_unchecked").collect();
    assert_eq!(unchecked.len(), 1, "{:?}", codes(&emitted));
    assert!(unchecked[0].render(Lang::En).message.contains("elasticloadbalancing:DescribeTargetHealth"));
    replica.stop().await;
}
