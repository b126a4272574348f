//! One deployment of half an hour: calls, and how soon its events are seen.

use std::time::Duration;

use panda_benches::figures::{line, percentile};
use panda_benches::postgres::Server;
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_benches::sandbox::{REPOSITORY, SandboxProcess, following};
use panda_sandbox::Faults;
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::time::Instant;

/// Factor by which the measurement is faster than a deployment.
const SPEED: f64 = 20.0;
/// Polling interval of `panda serve` unless configured, divided by [`SPEED`].
const INTERVAL_MS: u64 = 100;
const LENGTH: f64 = 1_800.0;
/// Tasks of the execution: each waits, and then has a burst of events.
const TASKS: u32 = 20;
/// Events of a burst, a second apart.
const EVENTS: u32 = 10;

/// Seconds after an event was seen in which Panda polls at the configured interval: an event that appears then is one of an active execution.
const ACTIVE: f64 = 4.0;

/// Returns the seconds after which events appear. The first event of each burst ends a wait of a minute and a half, at a time that no polling interval divides.
fn plan() -> Vec<f64> {
    let burst = |task: u32| {
        let begins = f64::from(task) * LENGTH / f64::from(TASKS) + 7.0 + f64::from(task * 37 % 17) / 3.0;
        (0..EVENTS).map(move |event| begins + f64::from(event))
    };
    (0..TASKS).flat_map(burst).collect()
}

/// The history with its first `count` events; they belong to states without a meaning for Panda.
fn history(count: usize) -> Vec<Value> {
    let event = |n: usize| {
        let kind = if n.is_multiple_of(2) { "WaitStateEntered" } else { "WaitStateExited" };
        let details = if n.is_multiple_of(2) { "stateEnteredEventDetails" } else { "stateExitedEventDetails" };
        json!({"id": n, "previousEventId": n - 1, "type": kind, details: {"name": format!("Pause {}", n / 2)}})
    };
    let started =
        json!({"id": 1, "previousEventId": 0, "type": "ExecutionStarted", "executionStartedEventDetails": {}});
    std::iter::once(started).chain((2..=count + 1).map(event)).collect()
}

pub async fn measure(server: &Server) {
    let database = server.database().await;
    let sandbox = SandboxProcess::start();
    let arns = sandbox.executions(1).await;
    let show = async |count: usize| {
        let histories = [(REPOSITORY.to_owned(), history(count))].into();
        sandbox.faults(&Faults { histories, ..Faults::default() }).await;
    };
    show(0).await;
    rows::place(&database.db, 1, |_| following(&arns[0])).await;
    let (mut options, variables) = sandbox.with_quotas();
    options.push(format!("--poll-interval-ms={INTERVAL_MS}"));
    let _panda = Panda::start_with(&database.url, &options, &variables).await;
    let mut look = database.look().await;
    seen(&mut look, 1).await;

    let (planned, began) = (plan(), Instant::now());
    let due = |at: f64| began + Duration::from_secs_f64(at / SPEED);
    // Detection is observed beside the plan: events appear while earlier ones are not seen yet.
    let observed = tokio::spawn(observe(look, planned.len() + 1));
    let mut shown = Vec::with_capacity(planned.len());
    for (n, at) in planned.iter().enumerate() {
        tokio::time::sleep_until(due(*at)).await;
        show(n + 1).await;
        shown.push(Instant::now());
    }
    let seen = observed.await.unwrap();
    tokio::time::sleep_until(began + Duration::from_secs_f64(LENGTH / SPEED)).await;
    let calls = sandbox.effects().await.calls;
    let count = |call: &str| calls.get(call).copied().unwrap_or_default().received;
    let (mut active, mut waiting) = (Vec::new(), Vec::new());
    for (shown, seen) in shown.iter().zip(seen.windows(2)) {
        let delay = seen[1].saturating_duration_since(*shown).as_secs_f64() * SPEED;
        let since = shown.checked_duration_since(seen[0]).map(|since| since.as_secs_f64() * SPEED);
        // The events of a burst that appear before its first one is seen are seen with it.
        if since.is_some_and(|since| since <= ACTIVE) { active.push(delay) } else { waiting.push(delay) }
    }
    let (history, describe) = (count("states:GetExecutionHistory"), count("states:DescribeExecution"));
    let p95 = |delays: &[f64]| percentile(delays, 0.95);
    line("one deployment: GetExecutionHistory calls", history, "300");
    line("one deployment: DescribeExecution calls after binding", describe, "0");
    line("one deployment: detection while active, 95th percentile", format!("{:.2} s", p95(&active)), "2.5 s");
    line("one deployment: detection of the end of a wait, p95", format!("{:.2} s", p95(&waiting)), "15 s");
    println!(
        "{}",
        json!({
            "name": "one", "speed": SPEED, "events": planned.len(), "history_calls": history, "describe_calls": describe,
            "active_events": active.len(), "active_p95_s": p95(&active), "waiting_p95_s": p95(&waiting),
        })
    );
}

/// Waits until Panda has recorded `count` events.
async fn seen(look: &mut PgConnection, count: i64) {
    while last_event(look).await < count {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Returns the times at which Panda had recorded each of `count` events.
async fn observe(mut look: PgConnection, count: usize) -> Vec<Instant> {
    let mut seen = Vec::with_capacity(count);
    while seen.len() < count {
        let last = usize::try_from(last_event(&mut look).await).unwrap();
        seen.resize(last.max(seen.len()), Instant::now());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    seen
}

async fn last_event(look: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT coalesce(max((facts ->> 'last_history_event_id')::bigint), 0) FROM deployments")
        .fetch_one(look)
        .await
        .unwrap()
}
