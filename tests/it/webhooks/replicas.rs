//! Several replicas, of which some are killed: each event has one stream of attempts, and none is lost.

use std::collections::HashSet;

use nix::sys::signal::Signal;
use pretty_assertions::assert_eq;
use serde_json::json;

use super::{Receiver, Reply, all, server, shown, webhook};
use crate::http::Fixture;
use crate::support::db::TestDb;
use crate::support::wait_for;

/// Most events that a kill may repeat at one receiver: the requests in flight.
const MAX_REPEATED: usize = 32;

/// Number of webhooks that each live sender holds.
async fn holders(db: &TestDb) -> Vec<i64> {
    let sql = "SELECT count(*) FROM receiver_cursors WHERE holder IS NOT NULL AND expires_at > clock_timestamp() GROUP BY holder";
    sqlx::query_scalar(sql).fetch_all(&mut db.psql().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__killed_replica_loses_nothing_and_keeps_order() {
    const LINES: u32 = 60;
    let db = TestDb::new().await;
    let mut replicas = [server(&db).ready().await, server(&db).ready().await];
    let mut receivers = Vec::new();
    for _ in 0..8 {
        let receiver = Receiver::start().await;
        webhook(&replicas[0], &json!({"url": receiver.url, "repositories": ["acme/*"]})).await;
        receivers.push(receiver);
    }
    wait_for("both replicas hold receivers", async || {
        let held = holders(&db).await;
        held.len() == 2 && held.iter().sum::<i64>() == 8
    })
    .await;
    let mut deployments = Vec::new();
    for n in 0..6 {
        deployments.push(Fixture::begin_of(&db.db, "acme", &format!("r{n}")).await);
    }
    for line in 1..=LINES {
        for deployment in &mut deployments {
            deployment.build_lines(line, line).await;
        }
        if line == LINES / 2 {
            replicas[1].kill().await;
        }
    }
    let lines = i64::from(LINES);
    for receiver in &receivers {
        wait_for("every event arrives", async || deployments.iter().all(|one| receiver.of(one.id()).contains(&lines)))
            .await;
        let mut repeated = 0;
        for deployment in &deployments {
            let mut seen = HashSet::new();
            let order: Vec<i64> = receiver.of(deployment.id()).into_iter().filter(|seq| seen.insert(*seq)).collect();
            assert_eq!(order, all(lines), "in order, once those that a crash repeats are left out by their id");
            repeated += receiver.of(deployment.id()).len() - order.len();
        }
        assert!(repeated <= MAX_REPEATED, "{repeated}");
    }
    assert_eq!(holders(&db).await, [8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__stopped_replica_repeats_nothing() {
    const LINES: u32 = 60;
    let db = TestDb::new().await;
    let mut replicas = [server(&db).ready().await, server(&db).ready().await];
    let mut receivers = Vec::new();
    for _ in 0..4 {
        let receiver = Receiver::start().await;
        webhook(&replicas[0], &json!({"url": receiver.url})).await;
        receivers.push(receiver);
    }
    wait_for("both replicas hold receivers", async || holders(&db).await.iter().sum::<i64>() == 4).await;
    let mut deployment = Fixture::begin_of(&db.db, "acme", "shop").await;
    let mut other = Fixture::begin_of(&db.db, "acme", "toys").await;
    for line in 1..=LINES {
        deployment.build_lines(line, line).await;
        other.build_lines(line, line).await;
        if line == LINES / 3 {
            replicas[1].signal(Signal::SIGTERM);
        }
        if line == LINES / 2 {
            replicas[1].wait().await;
            replicas[1] = server(&db).ready().await;
        }
    }
    for receiver in &receivers {
        for one in [&deployment, &other] {
            wait_for("every event arrives", async || receiver.of(one.id()).len() >= LINES as usize).await;
            assert_eq!(receiver.of(one.id()), all(i64::from(LINES)), "once and in order");
        }
    }
}

/// Ends the process at a fail point of the outbox, and lets another one continue.
async fn crash_at(point: &str) -> (Vec<i64>, Vec<String>) {
    let db = TestDb::new().await;
    let receiver = Receiver::start().await;
    let id = {
        let first = server(&db).ready().await;
        webhook(&first, &json!({"url": receiver.url})).await.0
    };
    let mut deployment = Fixture::begin_of(&db.db, "acme", "shop").await;
    let mut crashing = server(&db).variables(&[("FAILPOINTS", &format!("{point}=return"))]).start();
    deployment.build_lines(1, 3).await;
    crashing.wait().await;
    assert!(crashing.ended().is_some(), "{point} is reached");
    let next = server(&db).ready().await;
    wait_for("all arrive", async || receiver.of(deployment.id()).contains(&3)).await;
    wait_for("all are committed", async || shown(&next, &id).await["delivered"] == 3).await;
    let ids = receiver.received().into_iter().filter(|one| one.reply == Reply::Status(204)).map(|one| one.id).collect();
    (receiver.of(deployment.id()), ids)
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__crash_before_commit_repeats_one_id() {
    // After an answer, and before its commit: what no sender can avoid.
    for point in ["replica/outbox commit/before", "replica/webhook delivery/after"] {
        let (order, ids) = crash_at(point).await;
        assert_eq!(order, [1, 1, 2, 3], "{point}: only the newest is repeated");
        assert_eq!(ids[0], ids[1], "by the same id");
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__crash_elsewhere_repeats_nothing() {
    for point in ["replica/outbox commit/after", "replica/webhook delivery/before"] {
        assert_eq!(crash_at(point).await.0, [1, 2, 3], "{point}");
    }
}
