//! Freezes with replicas: what waits starts at the end of a freeze, without any other trigger.

use chrono::{DateTime, Utc};
use pretty_assertions::assert_eq;

use super::{Replica, codes, deploy, events, status};
use crate::support::environment::{Environment, tiny};
use crate::support::wait_for;

/// Inserts a freeze of everything that ends after some seconds, and returns its end.
async fn freeze(env: &Environment, seconds: f64) -> DateTime<Utc> {
    let sql = "INSERT INTO freezes (id, scope, holds, reason, created_by, starts_at, ends_at)
               VALUES ('frz_1', 'all', 'starts', 'sale', 'alice', clock_timestamp(), clock_timestamp() + make_interval(secs => $1)) RETURNING ends_at";
    sqlx::query_scalar(sql).bind(seconds).fetch_one(&mut env.db.psql().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freezes__end_starts_what_waited() {
    let env = Environment::with_files(tiny()).await;
    let end = freeze(&env, 4.0).await;
    let id = deploy(&env, "main").await;
    let replicas = [Replica::start(&env, &[]), Replica::start(&env, &[])];
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let sql = "SELECT turn_at FROM deployments WHERE id = $1";
    let turn: DateTime<Utc> = sqlx::query_scalar(sql).bind(&id).fetch_one(&mut env.db.psql().await).await.unwrap();
    let late = (turn - end).num_milliseconds();
    assert!((0..4_000).contains(&late), "by the end of the freeze, and not by the period of ten seconds: {late} ms");
    let emitted = events(&env, &id).await;
    assert_eq!(codes(&emitted)[0], "deployment_frozen");
    assert_eq!(emitted.iter().filter(|event| event.code == "deployment_frozen").count(), 1);
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freezes__cancel_ends_what_waits() {
    use crate::support::commands::Commands as _;
    let env = Environment::with_files(tiny()).await;
    freeze(&env, 600.0).await;
    let id = deploy(&env, "main").await;
    let replica = Replica::start(&env, &[]);
    env.db.db.request_cancel(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    wait_for("it is cancelled", async || env.db.db.deployment(&id).await.unwrap().unwrap().status == "FAILED").await;
    assert_eq!(codes(&events(&env, &id).await), ["deployment_frozen", "cancel_started", "cancelled"]);
    replica.stop().await;
}
