//! One replica at a time runs maintenance.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use panda::db::maintenance::{Batch, EventRemoval, MaintenanceJob};
use panda::domain::maintenance::{RetentionKind, RetentionRunState};

use super::{Keeper, age, codes};
use crate::http::Fixture;
use crate::support::db::TestDb;
use crate::support::wait_for;

const DAY: Duration = Duration::from_hours(24);

fn wanted(replica: &str) -> MaintenanceJob<'_> {
    MaintenanceJob { kind: RetentionKind::Events, replica, keep: Some(30 * DAY) }
}

fn removal(batch: i64) -> EventRemoval {
    EventRemoval { codes: None, batch }
}

async fn old_deployment(db: &TestDb, lines: u32) -> Fixture {
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, lines).await;
    fixture.fail().await;
    age(db, fixture.id(), 40).await;
    fixture
}

#[tokio::test]
async fn retention_replicas__same_tick_runs_once() {
    let db = TestDb::new().await;
    let fixture = old_deployment(&db, 3).await;
    let replicas: Vec<Keeper> =
        (0..4).map(|n| Keeper::named(&db.db, RetentionKind::Events, "30d", &format!("replica-{n}/1"))).collect();
    let now = Utc::now() + TimeDelta::minutes(1);
    futures_util::future::join_all(replicas.iter().map(|replica| replica.maintenance.begin_due(now))).await;
    wait_for("the run ended", async || replicas[0].runs().await[0].ended_at.is_some()).await;
    let runs = replicas[0].runs().await;
    assert_eq!((runs.len(), runs[0].removed, runs[0].state.as_str()), (1, 3, "done"));
    assert_eq!(codes(&db, fixture.id()).await.len(), 1);
}

#[tokio::test]
async fn retention_replicas__next_tick_waits_for_current_run() {
    let db = TestDb::new().await;
    let now = Utc::now();
    let run = db.db.begin_maintenance(wanted("a/1"), now).await.unwrap().unwrap();
    assert_eq!(db.db.begin_maintenance(wanted("b/1"), now + TimeDelta::minutes(1)).await.unwrap(), None);
    db.db.end_maintenance(run.id, RetentionRunState::Done, None).await.unwrap();
    assert_eq!(db.db.begin_maintenance(wanted("b/1"), now).await.unwrap(), None, "that tick had its run");
    assert!(db.db.begin_maintenance(wanted("b/1"), now + TimeDelta::minutes(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn retention_replicas__expired_lease_removes_nothing() {
    let db = TestDb::new().await;
    let fixture = old_deployment(&db, 30).await;
    let silent = db.db.begin_maintenance(wanted("silent/1"), Utc::now()).await.unwrap().unwrap();
    assert_eq!(db.db.remove_events(&silent, &removal(10)).await.unwrap(), Batch::Some(10));
    // As if it had been paused for three minutes.
    sqlx::query("UPDATE maintenance_runs SET renewed_at = renewed_at - interval '3 minutes'")
        .execute(&mut db.psql().await)
        .await
        .unwrap();
    let next = Utc::now() + TimeDelta::minutes(1);
    let other = db.db.begin_maintenance(wanted("other/1"), next).await.unwrap().expect("the right is free again");
    assert_eq!(db.db.remove_events(&silent, &removal(10)).await.unwrap(), Batch::Lost);
    assert_eq!(codes(&db, fixture.id()).await.len(), 21, "its batch was rolled back");
    assert!(!db.db.renew_maintenance(silent.id, 1).await.unwrap());
    db.db.end_maintenance(silent.id, RetentionRunState::Done, None).await.unwrap();
    assert_eq!(db.db.remove_events(&other, &removal(100)).await.unwrap(), Batch::Some(20));
    assert_eq!(db.db.remove_events(&other, &removal(100)).await.unwrap(), Batch::Last(0));
    let runs = Keeper::of(&db.db, RetentionKind::Events, "30d").runs().await;
    let ended: Vec<_> = runs.iter().map(|run| (run.state.as_str(), run.removed)).collect();
    assert_eq!(ended, [("running", 20), ("interrupted", 10)]);
}

#[tokio::test]
async fn retention_replicas__batches_split_within_deployment_complete() {
    let db = TestDb::new().await;
    let mut fixtures = Vec::new();
    for lines in [5, 1, 20, 6, 3] {
        fixtures.push(old_deployment(&db, lines).await);
    }
    let run = db.db.begin_maintenance(wanted("a/1"), Utc::now()).await.unwrap().unwrap();
    let mut batches = Vec::new();
    while let Batch::Some(removed) = db.db.remove_events(&run, &removal(7)).await.unwrap() {
        batches.push(removed);
    }
    assert_eq!(batches.iter().sum::<i64>(), 35, "{batches:?}");
    assert!(batches.iter().all(|removed| *removed <= 7), "{batches:?}");
    for fixture in &fixtures {
        assert_eq!(codes(&db, fixture.id()).await, ["build_failed"]);
    }
}

#[tokio::test]
async fn retention_replicas__retry_waits_for_batch() {
    let db = TestDb::new().await;
    let fixture = old_deployment(&db, 5).await;
    let run = db.db.begin_maintenance(wanted("a/1"), Utc::now()).await.unwrap().unwrap();
    // A retry is being written while the batch selects rows: the batch waits, and then skips the deployment.
    let mut retry = db.psql().await;
    let mut tx = sqlx::Connection::begin(&mut retry).await.unwrap();
    sqlx::query("UPDATE deployments SET status = 'RUNNING', error_code = NULL, error_message = NULL, completed_at = NULL WHERE id = $1")
        .bind(fixture.id())
        .execute(&mut *tx)
        .await
        .unwrap();
    let (app, running) = (db.db.clone(), run.clone());
    let batch = tokio::spawn(async move { app.remove_events(&running, &removal(100)).await.unwrap() });
    wait_for("the batch waits", async || {
        sqlx::query_scalar::<_, bool>(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')",
        )
        .fetch_one(&mut db.psql().await)
        .await
        .unwrap()
    })
    .await;
    tx.commit().await.unwrap();
    assert_eq!(batch.await.unwrap(), Batch::Some(0));
    assert_eq!(codes(&db, fixture.id()).await.len(), 6);
}
