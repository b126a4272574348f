//! Locks, reports, requests and replays that share the database with the reconciler delay their own callers, and no deployment.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use pretty_assertions::assert_eq;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use sqlx::{Executor, PgConnection};
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use super::takeover::{building, slow_build, undisturbed};
use super::{deploy, status};
use crate::http::fixture::Fixture;
use crate::support::environment::{Environment, tiny};
use crate::support::process::Serve;
use crate::support::wait_for;

/// The replica that owns a deployment.
async fn owner(psql: &mut PgConnection, id: &str) -> Option<Uuid> {
    sqlx::query_scalar("SELECT replica_id FROM deployments WHERE id = $1").bind(id).fetch_one(psql).await.unwrap()
}

/// The distinct outcomes of runs.
async fn outcomes(psql: &mut PgConnection) -> BTreeSet<String> {
    let all: Vec<String> = sqlx::query_scalar("SELECT DISTINCT outcome FROM step_runs").fetch_all(psql).await.unwrap();
    all.into_iter().collect()
}

/// A problem's status and code.
async fn problem(answer: reqwest::Result<reqwest::Response>) -> (StatusCode, String) {
    let answer = answer.unwrap();
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    (status, body["errorCode"].as_str().unwrap_or_default().to_owned())
}

/// The answer to a caller with too many running reports.
fn busy() -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, "REPORTS_BUSY".to_owned())
}

/// Report statements that Postgres is running.
async fn running_reports(psql: &mut PgConnection) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND state = 'active' AND query LIKE 'SELECT * FROM (SELECT %'";
    sqlx::query_scalar(sql).fetch_one(psql).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_reports__cost_no_lease_and_no_other_caller() {
    let env = Environment::with_files(slow_build(4)).await;
    let replica = Serve::start(&env, &["--lease-ms=1500"], &[]);
    replica.ready().await;
    let id = deploy(&env, "main").await;
    building(&env, &id).await;
    let mut psql = env.db.psql().await;
    let before = owner(&mut psql, &id).await;
    // Only reports and ends of attempts need this table, so all reports hang.
    let mut locker = env.db.psql().await;
    locker.execute("BEGIN; LOCK TABLE report_attempts IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let url = format!("{}/api/v1/reports/slowest-stages", replica.url);
    let abandoned = (0..32).map(|_| {
        let url = url.clone();
        async move {
            let answer = timeout(Duration::from_millis(300), reqwest::get(url)).await;
            // On a busy machine a refusal may arrive before the client times out.
            if let Ok(answer) = answer {
                assert_eq!(problem(answer).await, busy());
            }
        }
    });
    join_all(abandoned).await;
    wait_for("Postgres ends the abandoned query", async || running_reports(&mut psql).await == 0).await;

    // Further requests of the noisy caller are refused soon.
    let first = tokio::spawn(reqwest::get(url.clone()));
    wait_for("a report is under way", async || running_reports(&mut psql).await == 1).await;
    let refused = problem(reqwest::get(&url).await).await;
    assert_eq!(refused, busy());
    let list = reqwest::get(format!("{}/api/v1/deploy", replica.url)).await.unwrap();
    assert_eq!(list.status(), StatusCode::OK, "requests do not wait for reports");
    assert_eq!(owner(&mut psql, &id).await, before, "the lease is the same");
    locker.execute("ROLLBACK").await.unwrap();
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);

    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&env, &id).await;
    assert_eq!(replica.metric("panda_interruptions_total{cause=\"lease_lost\"}").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locked_deployments__cost_no_lease_and_stay_ready() {
    let env = Environment::with_files(slow_build(6)).await;
    let replica = Serve::start(&env, &["--lease-ms=1500", "--database-acquire-timeout-ms=500"], &[]);
    replica.ready().await;
    let id = deploy(&env, "main").await;
    building(&env, &id).await;
    let mut psql = env.db.psql().await;
    let before = owner(&mut psql, &id).await;
    let mut locker = env.db.psql().await;
    locker.execute("BEGIN; LOCK TABLE deployments IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // Far more requests than connections: the answer names the limit that was exceeded.
    let requests = (0..24).map(|_| reqwest::get(format!("{}/api/v1/deploy", replica.url)));
    let refused = tokio::spawn(join_all(requests));
    let renewed = "SELECT heartbeat_at FROM replicas WHERE id = $1";
    for _ in 0..8 {
        let last: chrono::DateTime<chrono::Utc> =
            sqlx::query_scalar(renewed).bind(before).fetch_one(&mut psql).await.unwrap();
        wait_for("the lease is renewed", async || {
            let now: chrono::DateTime<chrono::Utc> =
                sqlx::query_scalar(renewed).bind(before).fetch_one(&mut psql).await.unwrap();
            now > last
        })
        .await;
        let ready = reqwest::get(format!("{}/readyz", replica.url)).await.unwrap();
        assert_eq!(ready.status(), StatusCode::OK, "the database takes writes");
    }
    let busy = replica.metric("panda_database_caller_rejected_total{class=\"api\"}").await;
    assert!(busy > 0, "{busy}");
    locker.execute("ROLLBACK").await.unwrap();
    let mut codes = BTreeSet::new();
    for answer in refused.await.unwrap() {
        let (status, code) = problem(answer).await;
        if status != StatusCode::OK {
            codes.insert((status.as_u16(), code));
        }
    }
    assert_eq!(codes, BTreeSet::from([(503, "REQUESTS_BUSY".to_owned())]));
    assert_eq!(owner(&mut psql, &id).await, before, "the lease is the same");
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&env, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locked_replicas__lost_leases_not_counted_as_crashes() {
    let env = Environment::with_files(slow_build(3)).await;
    let replica = Serve::start(&env, &["--lease-ms=1000", "--database-acquire-timeout-ms=500"], &[]);
    replica.ready().await;
    let id = deploy(&env, "main").await;
    let mut psql = env.db.psql().await;
    let mut locker = env.db.psql().await;
    let mut owners = BTreeSet::new();
    // More often than a step may lose its replica.
    while owners.len() < 7 {
        let holder = wait_for("the deployment is claimed", async || owner(&mut psql, &id).await).await;
        owners.insert(holder);
        locker.execute("BEGIN; LOCK TABLE replicas IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let lost = replica.log().matches("lease lost, dropping the deployment").count();
        wait_for("the lease is lost", async || {
            replica.log().matches("lease lost, dropping the deployment").count() > lost
        })
        .await;
        locker.execute("ROLLBACK").await.unwrap();
        wait_for("the deployment is claimed again", async || owner(&mut psql, &id).await != Some(holder)).await;
    }
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let outcomes = outcomes(&mut psql).await;
    assert!(outcomes.contains("lease_lost") && !outcomes.contains("lost"), "{outcomes:?}");
    assert!(replica.metric("panda_interruptions_total{cause=\"lease_lost\"}").await >= 7);
    assert_eq!(replica.metric("panda_interruptions_total{cause=\"process_death\"}").await, 0);
}

/// Records crashes in the step `step` of the deployment, more than permitted.
async fn deaths(psql: &mut PgConnection, id: &str, step: &str, state: Value) {
    let text = "UPDATE deployments SET step = $2, step_state = $3, claims_without_progress = 9, version = version + 9, replica_id = NULL,
                    step_started_at = now() - interval '10 seconds' WHERE id = $1";
    sqlx::query(text).bind(id).bind(step).bind(state).execute(&mut *psql).await.unwrap();
    let text = "INSERT INTO step_runs (deployment_id, version, attempt, step, replica_id, started_at, ended_at, outcome)
                SELECT d.id, d.version - n, d.attempt, d.step, gen_random_uuid(), now() - interval '2 seconds', now(), 'lost'
                FROM deployments d, generate_series(0, 6) n WHERE d.id = $1";
    sqlx::query(text).bind(id).execute(psql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_limit__fails_step_with_crash_count() {
    let env = Environment::with_files(tiny()).await;
    let id = deploy(&env, "main").await;
    deaths(&mut env.db.psql().await, &id, "ensure_event_rule", json!({})).await;
    let replica = Serve::start(&env, &[], &[]);
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some("STEP_CRASHED"));
    let message = failed.error_message.unwrap();
    assert!(message.contains("ensure_event_rule") && message.contains("7번 종료"), "{message}");
    assert!(message.contains("잃은 리스: 0"), "{message}");
    drop(replica);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_limit__never_fails_cancellation() {
    let env = Environment::with_files(tiny()).await;
    let id = deploy(&env, "main").await;
    let mut psql = env.db.psql().await;
    let text = "UPDATE deployments SET cancel_requested_at = now() WHERE id = $1";
    sqlx::query(text).bind(&id).execute(&mut psql).await.unwrap();
    deaths(&mut psql, &id, "cancel", json!({"during": "ensure_event_rule", "stage": 1, "looks": 0, "stopping": false}))
        .await;
    let replica = Serve::start(&env, &[], &[]);
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some("CANCELLED"), "{:?}", failed.error_message);
    drop(replica);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replays__serialised_and_cost_no_lease() {
    const EVENTS: usize = 3_000;
    const READERS: usize = 120;
    let env = Environment::with_files(slow_build(4)).await;
    let replica = Serve::start(&env, &["--lease-ms=1500", "--max-streams-per-client=1000"], &[]);
    replica.ready().await;
    let long = long_history(&env, EVENTS).await;
    let id = deploy(&env, "main").await;
    building(&env, &id).await;
    let mut psql = env.db.psql().await;
    let url = format!("{}/api/v1/deploy/{}/events", replica.url, long.id());
    let client = Client::new();
    let readers = (0..READERS).map(|_| read_events(&client, &url, EVENTS));
    let counts = join_all(readers).await;
    assert!(counts.iter().all(|count| *count >= EVENTS), "{counts:?}");
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&env, &id).await;
    assert_eq!(outcomes(&mut psql).await.into_iter().filter(|outcome| outcome.contains("lost")).count(), 0);
    assert_eq!(replica.metric("panda_interruptions_total{cause=\"lease_lost\"}").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replays__other_caller_not_delayed() {
    const EVENTS: usize = 2_000;
    const READERS: usize = 60;
    let env = Environment::with_files(tiny()).await;
    let replica = Serve::start(&env, &["--max-streams-per-client=1000"], &[]);
    replica.ready().await;
    let long = long_history(&env, EVENTS).await;
    let url = format!("{}/api/v1/deploy/{}/events", replica.url, long.id());
    // Without authentication, callers are distinguished by their address.
    let caller = |last| Client::builder().local_address(IpAddr::from([127, 0, 0, last])).build().unwrap();
    let noisy = caller(2);
    let begun: Vec<_> = join_all((0..READERS).map(|_| noisy.get(&url).send())).await;
    let finished = Arc::new(AtomicUsize::new(0));
    let mut readers = JoinSet::new();
    for stream in begun {
        let finished = Arc::clone(&finished);
        readers.spawn(async move {
            count_events(stream.unwrap(), EVENTS).await;
            finished.fetch_add(1, Ordering::SeqCst);
        });
    }
    assert_eq!(read_events(&caller(1), &url, EVENTS).await, EVENTS);
    let before = finished.load(Ordering::SeqCst);
    assert!(before < READERS / 4, "{before} of {READERS} replays of the noisy caller ended first");
}

/// A deployment with a long history, as a verbose build produces.
async fn long_history(env: &Environment, events: usize) -> Fixture {
    let mut long = Fixture::begin(&env.db.db).await;
    for batch in 0..events / 100 {
        let line = |n| {
            Event::new(EventCode::BuildProgress).with("message", "x".repeat(200)).keyed(format_args!("{batch}:{n}"))
        };
        long.tell((0..100).map(line).collect()).await;
    }
    long
}

/// Reads a stream until it has had `least` events; returns their number.
async fn read_events(client: &Client, url: &str, least: usize) -> usize {
    count_events(client.get(url).send().await.unwrap(), least).await
}

/// Reads an answered stream until it has had `least` events; returns their number.
async fn count_events(mut stream: Response, least: usize) -> usize {
    let (mut events, mut end) = (0, Vec::new());
    while events < least {
        let Some(chunk) = stream.chunk().await.unwrap() else { break };
        end.extend_from_slice(&chunk);
        events += end.windows(6).filter(|window| window == b"\ndata:").count();
        end.drain(..end.len().saturating_sub(5));
    }
    events
}
