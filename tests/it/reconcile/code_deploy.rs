//! CodeDeploy deployments that have not started, take hours, or are none.

use panda::domain::ErrorCode;
use panda::domain::catalogue::Lang;
use panda_sandbox::{CallFault, CanaryConfiguration, ExecutionFault, Faults, Outcome, ShiftFault};

use super::cancel::cancel;
use super::failures::{fails, said};
use super::{Replica, codes, deploy, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, hello};
use crate::support::wait_for;

fn received(env: &Environment, call: &str) -> u32 {
    env.sandbox.all_effects().calls.get(call).map_or(0, |count| count.received)
}

/// Deploys until the switch is approved, with these faults from then on.
async fn switching(env: &Environment, faults: Faults) -> String {
    let id = deploy(env, "main").await;
    status(env, &id, &["DEPLOYMENT_READY"]).await;
    env.sandbox.faults().set(faults);
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switch_traffic__waits_while_queued() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &[]);
    let id = switching(&env, Faults { code_deploy_queued: true, ..Faults::default() }).await;
    wait_for("the switch waits", async || {
        let waiting_for = env.db.db.deployment(&id).await.unwrap().unwrap().waiting_for;
        waiting_for.is_some_and(|why| why.contains("not ready for the switch yet"))
    })
    .await;
    env.sandbox.faults().clear();
    status(&env, &id, &["COMPLETED"]).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.continued.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel__stops_queued_deployment() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let held = ExecutionFault { state: "CheckDeployment".into(), outcome: Outcome::Stuck };
    let executions = [("*".to_owned(), held)].into();
    env.sandbox.faults().set(Faults { executions, code_deploy_queued: true, ..Faults::default() });
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    wait_for("CodeDeploy's deployment is known", async || {
        env.db.db.deployment(&id).await.unwrap().unwrap().facts.code_deploy_deployment_id.is_some()
    })
    .await;
    cancel(&env, &id).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.stopped.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    replica.stop().await;
}

/// Cancels a deployment whose other calls are denied, and returns the reason. CodeDeploy is stopped all the same.
async fn cancelled_without(calls: &[&str]) -> String {
    let env = Environment::with_files(hello("2.0.0")).await;
    let held = ExecutionFault { state: "CheckDeployment".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), held)].into(), ..Faults::default() });
    let replica = Replica::start(&env, &["--step-limit-ms=20000"]);
    let id = deploy(&env, "main").await;
    wait_for("CodeDeploy's deployment is known", async || {
        env.db.db.deployment(&id).await.unwrap().unwrap().facts.code_deploy_deployment_id.is_some()
    })
    .await;
    replica.stop().await;
    let denied = CallFault { deny: true, ..CallFault::default() };
    env.sandbox.faults().update(|faults| {
        faults.calls = calls.iter().map(|&call| (call.to_owned(), denied.clone())).collect();
    });
    // The next replica cancels before it runs the followed step, which would fail with these calls.
    env.db.db.request_cancel(&id).await.unwrap();
    let replica = Replica::start(&env, &["--step-limit-ms=20000"]);
    let failed = cancel(&env, &id).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.stopped.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    let stopped_too = !calls.contains(&"states:StopExecution");
    assert_eq!(effects.executions_stopped, u32::from(stopped_too), "{effects:?}");
    replica.stop().await;
    failed.error_message.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel__denied_execution_does_not_keep_code_deploy_running() {
    let calls = ["states:DescribeExecution", "states:GetExecutionHistory", "states:StopExecution"];
    let reason = cancelled_without(&calls).await;
    for call in calls {
        assert!(reason.contains(call), "{call}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel__stops_code_deploy_unseen() {
    let calls = ["codedeploy:GetDeployment", "codedeploy:ListDeploymentTargets"];
    let reason = cancelled_without(&calls).await;
    assert!(reason.contains("codedeploy:GetDeployment"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirm_switch__lasts_as_long_as_the_configuration() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &["--switch-limit-ms=1000"]);
    let canary = CanaryConfiguration { name: "ours".into(), interval_minutes: 90 };
    let shifts = [("*".to_owned(), ShiftFault::Stuck)].into();
    let faults = Faults { code_deploy_configuration: Some(canary), shifts, ..Faults::default() };
    let id = switching(&env, faults).await;
    wait_for("the switch began", async || codes(&events(&env, &id).await).contains(&"switch_started")).await;
    let began = std::time::Instant::now();
    wait_for("the plain limit has passed", async || began.elapsed().as_millis() > 1_500).await;
    let polled = received(&env, "codedeploy:GetDeployment");
    wait_for("it is still polled", async || received(&env, "codedeploy:GetDeployment") > polled + 2).await;
    let emitted = events(&env, &id).await;
    let parts: Vec<_> = emitted.iter().filter(|event| event.code == "traffic_shifted").collect();
    let [part] = parts.as_slice() else { panic!("each part is reported once: {parts:?}") };
    assert_eq!(part.render(Lang::En).message, "[Stage 4] Traffic moved: green 10 %, blue 90 %");
    env.sandbox.faults().update(|faults| faults.shifts.clear());
    status(&env, &id, &["COMPLETED"]).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirm_switch__single_part_ends_at_limit() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &["--switch-limit-ms=1500"]);
    let shifts = [("*".to_owned(), ShiftFault::Stuck)].into();
    let id = switching(&env, Faults { shifts, ..Faults::default() }).await;
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some("SWITCH_TIMED_OUT"), "{:?}", failed.error_message);
    env.sandbox.faults().clear();
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn execution__id_of_another_kind_refused_when_read() {
    for id in ["ecs-svc/1234567890123456789", "arn:aws:ecs:ap-northeast-2:210987654321:service/c/s", "d-ABC DEF"] {
        let env = Environment::start().await;
        env.sandbox.faults().set(Faults { reported_deployment_id: Some(id.to_owned()), ..Faults::default() });
        let failed = fails(&env, &[], "main", ErrorCode::ExecutionOutputInvalid).await;
        assert_eq!(failed.facts.code_deploy_deployment_id, None);
        assert!(said(&env, &failed.id).await.contains(&format!("codeDeployDeploymentId {id:?} is not the id")));
        let emitted = events(&env, &failed.id).await;
        assert!(codes(&emitted).contains(&"infra_completed"), "the stages before are not lost: {:?}", codes(&emitted));
    }
}
