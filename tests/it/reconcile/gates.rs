//! Gates on real parts: Debian's Prometheus, the service itself, and the sandbox's alarms decide about traffic of real containers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::routing::get;
use panda::commands::auto_switch::switch_due;
use panda::domain::catalogue::Lang;
use panda::domain::{ErrorCode, StoredEvent};
use panda_sandbox::{CallFault, RolloutStyle, SandboxAlarm, ShiftFault};
use panda_testing::prometheus::Prometheus;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::ecs_rollouts::second_pause;
use super::rollouts::{approve, ready, with_style};
use super::{Replica, codes, deploy, events, status};
use crate::support::environment::{Environment, OWNER};
use crate::support::wait_for;

const QUICK: [&str; 2] = ["--watch-interval-ms=300", "--switch-limit-ms=20000"];

/// A gate that requests the service, and passes if the answer has `text`.
pub fn serves(name: &str, at: &str, text: &str, on_fail: &str) -> Value {
    json!({"name": name, "at": at, "every": 5, "times": 1, "failures": 1, "noData": "wait", "onFail": on_fail,
           "http": {"path": "/", "codes": "200-299", "contains": text}})
}

fn alarm(name: &str, at: &str) -> Value {
    json!({"name": name, "at": at, "every": 5, "times": 1, "failures": 1, "noData": "wait", "onFail": "rollback",
           "alarm": {"name": "shop-5xx"}})
}

/// Stores the policy of all targets of the repository.
pub async fn store(env: &Environment, policy: Value) {
    let sql = "INSERT INTO policies (owner, repo, account_id, region, version, policy, created_by) VALUES (lower($1), lower($2), '', '', 1, $3, 'alice')";
    sqlx::query(sql).bind(OWNER).bind(&env.repo).bind(policy).execute(&mut env.db.psql().await).await.unwrap();
}

fn set_alarm(env: &Environment, state: &str) {
    let alarm = SandboxAlarm { state: state.to_owned(), reason: "5 datapoints were above the threshold".to_owned() };
    env.sandbox.faults().update(|faults| _ = faults.alarms.insert("shop-5xx".to_owned(), alarm));
}

/// AWS keeps blue, so that the traffic can return.
fn keep_blue(env: &Environment) {
    env.sandbox.faults().update(|faults| _ = faults.shifts.insert("*".to_owned(), ShiftFault::HoldBlue));
}

async fn answers(env: &Environment, id: &str) -> String {
    let url = env.db.db.deployment(id).await.unwrap().unwrap().facts.blue_url.unwrap();
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

async fn of_code(env: &Environment, id: &str, code: &str) -> Vec<StoredEvent> {
    events(env, id).await.into_iter().filter(|event| event.code == code).collect()
}

/// Waits for the only refusal of a switch, and returns its text.
async fn refused(env: &Environment, id: &str) -> String {
    wait_for("the switch is refused", async || of_code(env, id, "switch_refused").await.len() == 1).await;
    let view = env.db.db.deployment(id).await.unwrap().unwrap();
    assert_eq!((view.status.as_str(), view.switch_requested_at), ("DEPLOYMENT_READY", None));
    assert!(env.sandbox.effects(&env.ecr_repository()).continued.is_empty(), "nothing was moved");
    of_code(env, id, "switch_refused").await[0].render(Lang::En).message
}

/// Gate and result of each measurement, in order.
async fn measured(env: &Environment, id: &str) -> Vec<(String, String, String)> {
    let sql = "SELECT gate, point, result FROM panda_report.measurements_v1 WHERE deployment_id = $1 ORDER BY measured_at, gate COLLATE \"C\"";
    sqlx::query_as(sql).bind(id).fetch_all(&mut env.db.psql().await).await.unwrap()
}

fn triple(gate: &str, point: &str, result: &str) -> (String, String, String) {
    (gate.to_owned(), point.to_owned(), result.to_owned())
}

/// A service with one metric, `shop_errors`, and a Prometheus that scrapes it.
async fn shop_metrics(errors: u32) -> (Arc<AtomicU32>, Prometheus) {
    let value = Arc::new(AtomicU32::new(errors));
    let shown = Arc::clone(&value);
    let metrics = move || {
        let now = shown.load(Ordering::Relaxed);
        async move { format!("shop_errors {now}\n") }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/metrics", get(metrics));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let prometheus = Prometheus::watching(&format!("http://{address}"), &json!({"groups": []})).await;
    (value, prometheus)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates__of_each_kind_pass_before_switch_and_at_bake() {
    let (_errors, prometheus) = shop_metrics(0).await;
    let env = with_style(RolloutStyle::CodeDeploy).await;
    keep_blue(&env);
    set_alarm(&env, "OK");
    let query = json!({"name": "errors", "at": "before_switch", "every": 5, "times": 1, "failures": 1, "noData": "wait", "onFail": "rollback",
                       "prometheus": {"url": prometheus.url(), "query": "sum(shop_errors)", "max": 1}});
    let bake = serves("version", "bake", "2.0.0", "rollback");
    let gates = [query, alarm("alarm", "before_switch"), serves("green", "before_switch", "2.0.0", "rollback"), bake];
    store(&env, json!({"gates": gates})).await;
    let replica = Replica::start(&env, &QUICK);
    let id = ready(&env).await;
    approve(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    let before = |gate| triple(gate, "before_switch", "passed");
    // The three have measured concurrently.
    let mut found = measured(&env, &id).await;
    found.sort();
    let expected = [before("alarm"), before("errors"), before("green"), triple("version", "bake", "passed")];
    assert_eq!(found, expected);
    let emitted = events(&env, &id).await;
    let emitted: Vec<&str> = codes(&emitted).into_iter().skip_while(|code| *code != "ready").collect();
    let expected = [
        "ready",
        "gates_started",
        "gate_measured",
        "gate_passed",
        "gate_measured",
        "gate_passed",
        "gate_measured",
        "gate_passed",
        "switch_started",
        "gates_started",
        "gate_measured",
        "gate_passed",
        "deployment_completed",
        "completed",
    ];
    assert_eq!(emitted, expected);
    replica.stop().await;
}

/// On both back ends the rollout is ended, and no request reaches green.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates__failure_before_switch_stays_on_blue() {
    for style in [RolloutStyle::CodeDeploy, RolloutStyle::BlueGreen] {
        let env = with_style(style).await;
        store(&env, json!({"gates": [serves("green", "before_switch", "9.9.9", "rollback")]})).await;
        let replica = Replica::start(&env, &QUICK);
        let id = ready(&env).await;
        approve(&env, &id).await;
        let failed = status(&env, &id, &["FAILED"]).await;
        assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::GateFailed.as_str()), "{:?}", failed.error_message);
        let message = failed.error_message.unwrap();
        assert!(message.contains("green") && message.contains("9.9.9"), "{message}");
        assert_eq!(failed.facts.final_service.as_deref(), Some("blue"));
        assert!(!answers(&env, &id).await.contains("2.0.0"));
        let effects = env.sandbox.effects(&env.ecr_repository());
        assert!(effects.continued.is_empty() && effects.stopped.len() == 1, "{effects:?}");
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates__failure_at_bake_takes_the_traffic_back() {
    for style in [RolloutStyle::CodeDeploy, RolloutStyle::BlueGreen] {
        let env = with_style(style).await;
        keep_blue(&env);
        store(&env, json!({"gates": [serves("version", "bake", "9.9.9", "rollback")]})).await;
        let replica = Replica::start(&env, &QUICK);
        let id = ready(&env).await;
        approve(&env, &id).await;
        wait_for("the gate measures", async || !of_code(&env, &id, "gates_started").await.is_empty()).await;
        assert!(answers(&env, &id).await.contains("2.0.0"), "all traffic is on green");
        let failed = status(&env, &id, &["FAILED"]).await;
        let code = ErrorCode::RolledBackAfterSwitch.as_str();
        assert_eq!(failed.error_code.as_deref(), Some(code), "{:?}", failed.error_message);
        assert!(!answers(&env, &id).await.contains("2.0.0"));
        assert!(failed.traffic_moved_at.is_some(), "it counts as a change that reached users");
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates__pause_refuses_until_overridden() {
    let env = with_style(RolloutStyle::CodeDeploy).await;
    let gates =
        [serves("green", "before_switch", "9.9.9", "pause"), serves("note", "before_switch", "9.9.9", "notify")];
    store(&env, json!({"gates": gates})).await;
    let replica = Replica::start(&env, &QUICK);
    let id = ready(&env).await;
    approve(&env, &id).await;
    let said = refused(&env, &id).await;
    assert!(said.contains("green") && said.contains("request the switch again"), "{said}");
    assert_eq!(of_code(&env, &id, "gate_not_passed").await.len(), 2, "the gate that only notifies is reported as well");
    let sql = "INSERT INTO audit (request_id, address, subject, kind, role, action, target, result, details)
               VALUES ('r', '127.0.0.1', 'bob', 'token', 'approver', 'switch', $1, 'done', '{\"override\": {\"freeze\": null, \"reason\": \"known fault\"}}') RETURNING id";
    let audited: i64 = sqlx::query_scalar(sql).bind(&id).fetch_one(&mut env.db.psql().await).await.unwrap();
    let sql = "UPDATE deployments SET switch_requested_at = now(), switch_audit_id = $2 WHERE id = $1";
    sqlx::query(sql).bind(&id).bind(audited).execute(&mut env.db.psql().await).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    status(&env, &id, &["COMPLETED"]).await;
    let overridden = of_code(&env, &id, "gates_overridden").await;
    assert_eq!(overridden.len(), 1);
    let said = overridden[0].render(Lang::En).message;
    assert!(said.contains("bob") && said.contains("known fault"), "{said}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates__each_step_rolls_a_canary_back() {
    let env = with_style(RolloutStyle::Canary { percent: 20 }).await;
    store(&env, json!({"gates": [serves("live", "each_step", "9.9.9", "rollback")]})).await;
    let replica = Replica::start(&env, &QUICK);
    let id = ready(&env).await;
    approve(&env, &id).await;
    second_pause(&env, &id).await;
    assert_eq!(measured(&env, &id).await, [], "the first part has no step before it");
    approve(&env, &id).await;
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::RolledBackAfterSwitch.as_str()));
    assert_eq!(measured(&env, &id).await, [triple("live", "each_step", "failed")]);
    assert!(!answers(&env, &id).await.contains("2.0.0"));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates__each_step_is_refused_by_code_deploy() {
    let env = with_style(RolloutStyle::CodeDeploy).await;
    store(&env, json!({"gates": [serves("live", "each_step", "2.0.0", "rollback")]})).await;
    let replica = Replica::start(&env, &QUICK);
    let id = ready(&env).await;
    approve(&env, &id).await;
    let said = refused(&env, &id).await;
    assert!(said.contains("each_step") && said.contains("CodeDeploy"), "{said}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates__alarm_blocks_the_start() {
    let env = with_style(RolloutStyle::CodeDeploy).await;
    set_alarm(&env, "ALARM");
    store(&env, json!({"gates": [alarm("alarm", "bake")]})).await;
    let replica = Replica::start(&env, &QUICK);
    let id = deploy(&env, "main").await;
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::GateFailed.as_str()));
    let message = failed.error_message.unwrap();
    assert!(message.contains("shop-5xx") && message.contains("5 datapoints"), "{message}");
    assert_eq!(codes(&events(&env, &id).await), ["gate_failed"], "nothing was built");
    replica.stop().await;
}

/// With an approver's override, the alarm only leaves an event; its gate still decides at its point.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates__start_despite_an_alarm_is_overridden() {
    let env = with_style(RolloutStyle::CodeDeploy).await;
    set_alarm(&env, "ALARM");
    let gate = json!({"name": "alarm", "at": "before_switch", "every": 5, "times": 1, "failures": 1, "noData": "wait",
                      "onFail": "pause", "alarm": {"name": "shop-5xx"}});
    store(&env, json!({"gates": [gate]})).await;
    let id = deploy(&env, "main").await;
    let sql = "INSERT INTO audit (request_id, address, subject, kind, role, action, target, result, details)
               VALUES ('r', '127.0.0.1', 'bob', 'token', 'approver', 'deploy', $1, 'done', '{\"override\": {\"freeze\": null, \"reason\": \"known alarm\"}}')";
    sqlx::query(sql).bind(&id).execute(&mut env.db.psql().await).await.unwrap();
    let replica = Replica::start(&env, &QUICK);
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let overridden = of_code(&env, &id, "gates_overridden").await;
    assert_eq!(overridden.len(), 1);
    let said = overridden[0].render(Lang::En).message;
    assert!(said.contains("bob") && said.contains("known alarm"), "{said}");
    approve(&env, &id).await;
    let said = refused(&env, &id).await;
    assert!(said.contains("5 datapoints"), "{said}");
    replica.stop().await;
}

/// Each kind of gate at each later point of a rollout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates__each_kind_at_each_step_and_at_bake() {
    let (_errors, prometheus) = shop_metrics(0).await;
    let env = with_style(RolloutStyle::Canary { percent: 20 }).await;
    keep_blue(&env);
    set_alarm(&env, "OK");
    let query = |name: &str, at: &str| {
        json!({"name": name, "at": at, "every": 5, "times": 1, "failures": 1, "noData": "wait", "onFail": "rollback",
               "prometheus": {"url": prometheus.url(), "query": "sum(shop_errors)", "max": 1}})
    };
    let gates = [
        query("step-errors", "each_step"),
        alarm("step-alarm", "each_step"),
        serves("step-live", "each_step", "", "rollback"),
        query("bake-errors", "bake"),
        alarm("bake-alarm", "bake"),
        serves("bake-live", "bake", "2.0.0", "rollback"),
    ];
    store(&env, json!({"gates": gates})).await;
    let replica = Replica::start(&env, &QUICK);
    let id = ready(&env).await;
    approve(&env, &id).await;
    second_pause(&env, &id).await;
    approve(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    let mut found = measured(&env, &id).await;
    found.sort();
    let kinds = ["alarm", "errors", "live"];
    let expected = [("bake", "bake"), ("step", "each_step")]
        .into_iter()
        .flat_map(|(prefix, point)| kinds.map(|kind| triple(&format!("{prefix}-{kind}"), point, "passed")));
    assert_eq!(found, expected.collect::<Vec<_>>());
    replica.stop().await;
}

/// What may not be read has not passed, and does not block a start either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates__denied_alarm_never_passes() {
    let env = with_style(RolloutStyle::BlueGreen).await;
    set_alarm(&env, "OK");
    let denied = CallFault { deny: true, ..CallFault::default() };
    env.sandbox.faults().update(|faults| _ = faults.calls.insert("cloudwatch:DescribeAlarms".to_owned(), denied));
    let gate = json!({"name": "alarm", "at": "before_switch", "every": 5, "times": 1, "failures": 1, "noData": "pass",
                      "onFail": "pause", "alarm": {"name": "shop-5xx"}});
    store(&env, json!({"gates": [gate]})).await;
    let replica = Replica::start(&env, &["--watch-interval-ms=300", "--switch-limit-ms=1000"]);
    let id = ready(&env).await;
    approve(&env, &id).await;
    let said = refused(&env, &id).await;
    assert!(said.contains("alarm"), "{said}");
    let found = of_code(&env, &id, "gate_measured").await;
    assert!(!found.is_empty());
    let found = found[0].render(Lang::En).message;
    assert!(found.contains("cloudwatch:DescribeAlarms"), "the permission that is missing is named: {found}");
    assert!(measured(&env, &id).await.iter().all(|(_, _, result)| result == "unreadable"), "not even as missing data");
    replica.stop().await;
}

/// An alarm that is not there says nothing: the time limit passes, and no traffic moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates__undecided_never_pass() {
    let env = with_style(RolloutStyle::CodeDeploy).await;
    store(&env, json!({"gates": [alarm("alarm", "before_switch")]})).await;
    let replica = Replica::start(&env, &["--watch-interval-ms=300", "--switch-limit-ms=1000"]);
    let id = ready(&env).await;
    approve(&env, &id).await;
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::GateFailed.as_str()));
    let message = failed.error_message.unwrap();
    assert!(message.contains("alarm") && message.contains("제한 시간"), "{message}");
    assert!(measured(&env, &id).await.iter().all(|(_, _, result)| result == "unreadable"));
    assert!(env.sandbox.effects(&env.ecr_repository()).continued.is_empty());
    replica.stop().await;
}

/// Without an approver, the gate decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auto_switch__follows_the_gates_once() {
    let env = with_style(RolloutStyle::CodeDeploy).await;
    let gates = json!([serves("green", "before_switch", "2.0.0", "pause")]);
    store(&env, json!({"gates": gates, "autoSwitch": "when_gates_pass"})).await;
    let replica = Replica::start(&env, &QUICK);
    let id = ready(&env).await;
    assert_eq!(switch_due(&env.db.db).await.unwrap(), [id.as_str()]);
    assert_eq!(switch_due(&env.db.db).await.unwrap(), Vec::<String>::new(), "it is requested");
    env.db.db.notify_work(&id).await.unwrap();
    status(&env, &id, &["COMPLETED"]).await;
    let sql = "SELECT subject || ' ' || kind || ' ' || role FROM audit WHERE target = $1 AND action = 'switch'";
    let by: Vec<String> = sqlx::query_scalar(sql).bind(&id).fetch_all(&mut env.db.psql().await).await.unwrap();
    assert_eq!(by, ["policy:auto-switch policy approver"]);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auto_switch__leaves_refusals_to_people() {
    let env = with_style(RolloutStyle::CodeDeploy).await;
    let gates = json!([serves("green", "before_switch", "9.9.9", "pause")]);
    store(&env, json!({"gates": gates, "autoSwitch": "when_gates_pass"})).await;
    let replica = Replica::start(&env, &QUICK);
    let id = ready(&env).await;
    assert_eq!(switch_due(&env.db.db).await.unwrap(), [id.as_str()]);
    env.db.db.notify_work(&id).await.unwrap();
    refused(&env, &id).await;
    assert_eq!(switch_due(&env.db.db).await.unwrap(), Vec::<String>::new());
    replica.stop().await;
}

/// A freeze holds an automatic switch like any other, until its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auto_switch__waits_for_the_end_of_a_freeze() {
    let env = with_style(RolloutStyle::CodeDeploy).await;
    store(&env, json!({"autoSwitch": "when_gates_pass"})).await;
    let replica = Replica::start(&env, &QUICK);
    let id = ready(&env).await;
    let sql = "INSERT INTO freezes (id, scope, holds, reason, created_by, starts_at, ends_at)
               VALUES ('frz_1', 'all', 'switches', 'sale', 'alice', now() - interval '1 minute', now() + interval '1 hour')";
    sqlx::query(sql).execute(&mut env.db.psql().await).await.unwrap();
    assert_eq!(switch_due(&env.db.db).await.unwrap(), Vec::<String>::new(), "it is frozen");
    assert!(env.sandbox.effects(&env.ecr_repository()).continued.is_empty());
    let sql = "UPDATE freezes SET ends_at = clock_timestamp()";
    sqlx::query(sql).execute(&mut env.db.psql().await).await.unwrap();
    assert_eq!(switch_due(&env.db.db).await.unwrap(), [id.as_str()]);
    env.db.db.notify_work(&id).await.unwrap();
    status(&env, &id, &["COMPLETED"]).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auto_switch__waits_for_its_time_of_day() {
    let env = with_style(RolloutStyle::CodeDeploy).await;
    let later = chrono::Utc::now() + chrono::Duration::hours(2);
    store(&env, json!({"autoSwitch": format!("at {} UTC", later.format("%H:%M"))})).await;
    let replica = Replica::start(&env, &QUICK);
    let id = ready(&env).await;
    assert_eq!(switch_due(&env.db.db).await.unwrap(), Vec::<String>::new(), "in two hours");
    // It has been ready since yesterday, so that the first such time has passed.
    let sql = "UPDATE deployment_events SET created_at = created_at - interval '1 day' WHERE deployment_id = $1 AND code = 'awaiting_switch'";
    sqlx::query(sql).bind(&id).execute(&mut env.db.psql().await).await.unwrap();
    assert_eq!(switch_due(&env.db.db).await.unwrap(), [id.as_str()]);
    env.db.db.notify_work(&id).await.unwrap();
    status(&env, &id, &["COMPLETED"]).await;
    replica.stop().await;
}
