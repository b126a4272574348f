//! What AWS does on its own: before the switch, and after it until blue is terminated.

use panda::db::deployments::DeploymentView;
use panda::domain::ErrorCode;
use panda_sandbox::{CallFault, ConsoleAct, Faults, InjectedError, ShiftFault};
use pretty_assertions::assert_eq;

use super::cancel::cancel;
use super::retry::retry;
use super::{Replica, codes, deploy, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, hello};
use crate::support::wait_for;

/// Short turns: a turn lasts nine tenths of the interval.
const WATCHING: [&str; 1] = ["--watch-interval-ms=300"];

/// Shift faults of every repository.
fn shifts(fault: ShiftFault) -> Faults {
    Faults { shifts: [("*".to_owned(), fault)].into(), ..Faults::default() }
}

async fn ready(env: &Environment) -> String {
    let id = deploy(env, "main").await;
    status(env, &id, &["DEPLOYMENT_READY"]).await;
    id
}

async fn switch(env: &Environment, id: &str) {
    env.db.db.request_switch(id).await.unwrap();
    env.db.db.notify_work(id).await.unwrap();
    status(env, id, &["COMPLETED"]).await;
}

/// Deploys and switches; `fault` keeps blue alive.
async fn switched(env: &Environment, fault: ShiftFault) -> String {
    env.sandbox.faults().set(shifts(fault));
    let id = ready(env).await;
    switch(env, &id).await;
    id
}

async fn view(env: &Environment, id: &str) -> DeploymentView {
    env.db.db.deployment(id).await.unwrap().unwrap()
}

/// Waits for the failure: its event is the last one, and the only one of its kind.
async fn fails(env: &Environment, id: &str, code: ErrorCode) -> DeploymentView {
    let failed = status(env, id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(code.as_str()), "{:?}", failed.error_message);
    let emitted = events(env, id).await;
    let seqs: Vec<i64> = emitted.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(emitted.len()).unwrap()).collect::<Vec<_>>());
    let failures: Vec<usize> = (0..emitted.len()).filter(|&n| emitted[n].code == code.event_code()).collect();
    assert_eq!(failures, [emitted.len() - 1], "{:?}", codes(&emitted));
    assert!(!is_watched(env, id).await, "a failed deployment is not watched");
    failed
}

async fn is_watched(env: &Environment, id: &str) -> bool {
    let mut psql = env.db.psql().await;
    sqlx::query_scalar("SELECT watched FROM deployments WHERE id = $1").bind(id).fetch_one(&mut psql).await.unwrap()
}

async fn watch_ends(env: &Environment, id: &str) {
    wait_for("it is watched no more", async || !is_watched(env, id).await).await;
}

fn received(env: &Environment, call: &str) -> u32 {
    env.sandbox.all_effects().calls.get(call).map_or(0, |count| count.received)
}

/// Waits until the watch has polled AWS a few times more.
async fn polled(env: &Environment) {
    let before = received(env, "codedeploy:BatchGetDeployments");
    wait_for("it is polled", async || received(env, "codedeploy:BatchGetDeployments") > before + 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready__expires_at_its_deadline() {
    let env = Environment::with_files(hello("2.0.0")).await;
    env.sandbox.faults().set(Faults { ready_timeout_ms: Some(5_000), ..Faults::default() });
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    let until = view(&env, &id).await.facts.ready_until.expect("AWS states the wait");
    let emitted = events(&env, &id).await;
    let awaiting = emitted.iter().find(|event| event.code == "awaiting_switch").unwrap();
    let shown = awaiting.render(panda::domain::catalogue::Lang::En).details.unwrap();
    assert_eq!(shown["readyUntil"], until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    let failed = fails(&env, &id, ErrorCode::SwitchExpired).await;
    assert_eq!(failed.facts.final_service.as_deref(), Some("blue"));
    assert!(chrono::Utc::now() >= until, "not before AWS ended the wait");
    // The target is free again.
    env.sandbox.faults().clear();
    let next = ready(&env).await;
    cancel(&env, &next).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready__stopped_in_console_is_retried_without_build() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    env.sandbox.console(&env.ecr_repository(), ConsoleAct::Stop);
    let failed = fails(&env, &id, ErrorCode::StoppedWhileReady).await;
    assert!(failed.error_message.unwrap().contains("stopped in the console"));
    retry(&env, &id).await;
    let again = status(&env, &id, &["DEPLOYMENT_READY"]).await;
    assert_ne!(again.facts.code_deploy_deployment_id, failed.facts.code_deploy_deployment_id);
    assert!(again.facts.final_service.is_none(), "blue had the traffic in the first attempt");
    let emitted = events(&env, &id).await;
    let second: Vec<_> = emitted.into_iter().filter(|event| event.attempt == 2).collect();
    assert_eq!(codes(&second)[..2], ["retry_started", "push_stage_started"]);
    switch(&env, &id).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready__continued_in_console_is_completed() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    env.sandbox.console(&env.ecr_repository(), ConsoleAct::Continue);
    let completed = status(&env, &id, &["COMPLETED"]).await;
    assert_eq!((completed.facts.final_service.as_deref(), completed.switch_requested_at), (Some("green"), None));
    let emitted = events(&env, &id).await;
    let emitted = codes(&emitted);
    assert_eq!(emitted[emitted.len() - 3..], ["continued_outside", "deployment_completed", "completed"]);
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert!(effects.continued.is_empty(), "not by Panda: {effects:?}");
    watch_ends(&env, &id).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready__continued_and_rolled_back_between_two_polls() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    // The watch may not look until the rollback is over.
    let denied = CallFault { deny: true, ..CallFault::default() };
    let calls =
        ["codedeploy:BatchGetDeployments", "codedeploy:GetDeployment"].map(|call| (call.to_owned(), denied.clone()));
    env.sandbox.faults().set(Faults { calls: calls.into(), ..shifts(ShiftFault::HoldBlue) });
    env.sandbox.console(&env.ecr_repository(), ConsoleAct::Continue);
    wait_for("the traffic is on green", async || !env.sandbox.effects(&env.ecr_repository()).shifted.is_empty()).await;
    let old = env.sandbox.console(&env.ecr_repository(), ConsoleAct::RollBack);
    let ended = async || env.sandbox.is_ended(&old);
    wait_for("the rollback is over", ended).await;
    env.sandbox.faults().clear();
    let failed = fails(&env, &id, ErrorCode::RolledBackAfterSwitch).await;
    assert_eq!(failed.facts.final_service.as_deref(), Some("blue"));
    assert!(codes(&events(&env, &id).await).contains(&"continued_outside"));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready__denied_or_throttled_look_changes_nothing() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    let before = events(&env, &id).await.len();
    let throttled = InjectedError { code: "ThrottlingException".into(), message: "Rate exceeded".into(), times: None };
    for fault in [
        CallFault { deny: true, ..CallFault::default() },
        CallFault { refuse: Some(throttled), ..CallFault::default() },
    ] {
        let calls =
            ["codedeploy:BatchGetDeployments", "codedeploy:GetDeployment"].map(|call| (call.to_owned(), fault.clone()));
        env.sandbox.faults().update(|faults| faults.calls = calls.into());
        // A look, too, is denied.
        assert_eq!(env.db.db.request_looks(std::slice::from_ref(&id)).await.unwrap(), 1);
        env.db.db.notify_work(&id).await.unwrap();
        polled(&env).await;
        wait_for("the look is over", async || {
            let mut psql = env.db.psql().await;
            let sql = "SELECT active FROM deployments WHERE id = $1";
            !sqlx::query_scalar::<_, bool>(sql).bind(&id).fetch_one(&mut psql).await.unwrap()
        })
        .await;
    }
    assert_eq!((view(&env, &id).await.status.as_str(), events(&env, &id).await.len()), ("DEPLOYMENT_READY", before));
    // The batch call alone may be missing from a policy that was written for an earlier version.
    let denied = CallFault { deny: true, ..CallFault::default() };
    env.sandbox.faults().update(|faults| faults.calls = [("codedeploy:BatchGetDeployments".to_owned(), denied)].into());
    env.sandbox.console(&env.ecr_repository(), ConsoleAct::Stop);
    fails(&env, &id, ErrorCode::StoppedWhileReady).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completed__blue_is_watched_until_terminated() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = switched(&env, ShiftFault::HoldBlue).await;
    polled(&env).await;
    assert!(is_watched(&env, &id).await);
    assert_eq!(view(&env, &id).await.facts.blue_terminated_at, None);
    let emitted = events(&env, &id).await.len();
    // The watch does not hold the target.
    let next = deploy(&env, "main").await;
    cancel(&env, &next).await;
    env.sandbox.faults().clear();
    watch_ends(&env, &id).await;
    let ended = view(&env, &id).await;
    assert!(
        ended
            .facts
            .blue_terminated_at
            .is_some_and(|at| at > ended.completed_at.unwrap() - chrono::Duration::seconds(5))
    );
    assert_eq!((ended.status.as_str(), events(&env, &id).await.len()), ("COMPLETED", emitted), "a fact, no event");
    replica.stop().await;
}

/// Takes the traffic of a switched deployment back by `act`; two replicas watch, and the look is requested once more.
async fn rolled_back(fault: ShiftFault, act: impl AsyncFnOnce(&Environment), reason: &str) {
    let env = Environment::with_files(hello("2.0.0")).await;
    let (replica, other) = (Replica::start(&env, &WATCHING), Replica::start(&env, &WATCHING));
    let id = switched(&env, fault).await;
    let completed = view(&env, &id).await;
    act(&env).await;
    let _ = env.db.db.request_looks(std::slice::from_ref(&id)).await.unwrap();
    let failed = fails(&env, &id, ErrorCode::RolledBackAfterSwitch).await;
    assert_eq!(failed.facts.final_service.as_deref(), Some("blue"));
    let said = failed.error_message.unwrap();
    assert!(said.contains(reason), "{said}");
    assert!(failed.completed_at > completed.completed_at);
    let emitted = events(&env, &id).await;
    let emitted = codes(&emitted);
    assert_eq!(emitted[emitted.len() - 2..], ["completed", "rolled_back_after_switch"]);
    // The pipeline starts again with the pushed image.
    env.sandbox.faults().clear();
    retry(&env, &id).await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    switch(&env, &id).await;
    let again = view(&env, &id).await;
    assert_eq!((again.attempt, again.facts.final_service.as_deref()), (2, Some("green")));
    replica.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completed__rolled_back_by_alarm() {
    let alarm = async |env: &Environment| _ = env.sandbox.console(&env.ecr_repository(), ConsoleAct::Alarm);
    rolled_back(ShiftFault::HoldBlue, alarm, "ALARM_ACTIVE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completed__rolled_back_in_console() {
    let stop = async |env: &Environment| _ = env.sandbox.console(&env.ecr_repository(), ConsoleAct::RollBack);
    rolled_back(ShiftFault::HoldBlue, stop, "MANUAL_STOP").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completed__rolled_back_by_hook_after_traffic() {
    let fail = async |env: &Environment| env.sandbox.faults().set(shifts(ShiftFault::FailHook));
    rolled_back(ShiftFault::HoldHook, fail, "HOOK_EXECUTION_FAILURE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completed__stopped_without_rollback_stays() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = switched(&env, ShiftFault::HoldBlue).await;
    env.sandbox.console(&env.ecr_repository(), ConsoleAct::Stop);
    watch_ends(&env, &id).await;
    let ended = view(&env, &id).await;
    assert_eq!((ended.status.as_str(), ended.facts.final_service.as_deref()), ("COMPLETED", Some("green")));
    assert_eq!(ended.facts.blue_terminated_at, None);
    assert_eq!(codes(&events(&env, &id).await).last(), Some(&"kept_on_green"));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch__unchanged_rows_are_not_written() {
    const ROWS: u32 = 2_500;
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &WATCHING);
    let id = ready(&env).await;
    let mut psql = env.db.psql().await;
    let copies = "INSERT INTO deployments (id, owner, repo, branch, github_connection_id, aws_connection_id, account_id, region,
                      ecr_repository, step, step_state, status, watched, facts, started_at, ready_at)
                  SELECT 'dep_copy' || n, owner, repo, branch, github_connection_id, aws_connection_id, account_id, region,
                      ecr_repository || n, step, step_state, status, watched, facts, started_at, ready_at
                  FROM deployments, generate_series(2, $2) AS n WHERE id = $1";
    sqlx::query(copies).bind(&id).bind(i32::try_from(ROWS).unwrap()).execute(&mut psql).await.unwrap();
    let written = "SELECT md5(string_agg(id || xmin::text || version::text, ',' ORDER BY id)) FROM deployments";
    let before: String = sqlx::query_scalar(written).fetch_one(&mut psql).await.unwrap();
    let calls = received(&env, "codedeploy:BatchGetDeployments");
    let passes = 2 * ROWS / 25;
    wait_for("two passes over all", async || received(&env, "codedeploy:BatchGetDeployments") >= calls + passes).await;
    let after: String = sqlx::query_scalar(written).fetch_one(&mut psql).await.unwrap();
    assert_eq!(before, after);
    replica.stop().await;
}

/// The watch has not noticed yet that the traffic is on green: a cancellation must not report the opposite.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel__completed_when_stopped_with_traffic_on_green() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &["--watch-interval-ms=600000"]);
    let id = ready(&env).await;
    env.sandbox.faults().set(shifts(ShiftFault::HoldBlue));
    env.sandbox.console(&env.ecr_repository(), ConsoleAct::Continue);
    wait_for("the traffic is on green", async || !env.sandbox.effects(&env.ecr_repository()).shifted.is_empty()).await;
    let rollout = env.sandbox.console(&env.ecr_repository(), ConsoleAct::Stop);
    wait_for("the deployment is stopped", async || env.sandbox.is_ended(&rollout)).await;
    env.db.db.request_cancel(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    let completed = status(&env, &id, &["COMPLETED"]).await;
    assert_eq!(completed.facts.final_service.as_deref(), Some("green"));
    replica.stop().await;
}

/// After a call whose answer was lost, a denied look does not say that the switch failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switch__denied_look_is_repeated() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &["--watch-interval-ms=600000"]);
    let id = ready(&env).await;
    let denied = CallFault { deny: true, ..CallFault::default() };
    let calls = [("codedeploy:GetDeployment".to_owned(), denied)].into();
    env.sandbox.faults().set(Faults { calls, ..Faults::default() });
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    wait_for("the look is repeated", async || {
        view(&env, &id).await.waiting_for.is_some_and(|why| why.contains("GetDeployment"))
    })
    .await;
    env.sandbox.faults().clear();
    status(&env, &id, &["COMPLETED"]).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.continued.values().collect::<Vec<_>>(), [&1], "{effects:?}");
    replica.stop().await;
}
