//! Streams while notifications are lost, the listener breaks, or the database is unavailable.

use std::time::Duration;

use sqlx::Executor;
use tokio::time::Instant;

use crate::http::{Api, Fixture, Reader};
use crate::support::db::{TestDb, through};
use crate::support::postgres_proxy::PostgresProxy;
use crate::support::sse_reader::texts;
use crate::support::wait_for;

#[tokio::test]
async fn events_outage__lost_notification_delays_under_two_seconds() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let mut reader = api.follow(fixture.id(), "").await;
    for n in 1..=3 {
        let committed = Instant::now();
        fixture.build_lines(n, n).await;
        reader.take(1).await;
        assert!(committed.elapsed() < Duration::from_secs(2), "{:?}", committed.elapsed());
    }
}

#[tokio::test]
async fn events_outage__notification_reaches_every_process() {
    let db = TestDb::new().await;
    let (api, other) = (Api::serve(&db.db).await, Api::serve(&db.db).await);
    let mut fixture = Fixture::begin(&db.db).await;
    let mut readers = [api.follow(fixture.id(), "").await, other.follow(fixture.id(), "").await];
    let mut best = Duration::MAX;
    for n in 1..=10 {
        let committed = Instant::now();
        fixture.build_lines(n, n).await;
        db.db.notify_events(&[fixture.id().to_owned()]).await.unwrap();
        for reader in &mut readers {
            reader.take(1).await;
        }
        best = best.min(committed.elapsed());
    }
    assert!(best < Duration::from_millis(500), "only the poll of each second found it: {best:?}");
}

#[tokio::test]
async fn events_outage__streams_complete_after_listener_killed() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let mut reader = api.follow(fixture.id(), "").await;
    let mut psql = db.psql().await;
    for n in 1..=3 {
        let listening = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                         WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        let killed = wait_for("a listener is connected", async || {
            Some(psql.execute(listening).await.unwrap().rows_affected()).filter(|killed| *killed > 0)
        });
        assert_eq!(killed.await, 1, "one listener per process");
        let committed = Instant::now();
        fixture.build_lines(n, n).await;
        assert_eq!(texts(&reader.take(1).await), [format!("[Stage 1] Docker 빌드 진행 중: line {n}")]);
        assert!(committed.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn events_outage__stream_opened_meanwhile_begins_on_recovery() {
    let db = TestDb::new().await;
    let proxy = PostgresProxy::before(&db, false).await;
    let api = Api::serve(&through(&proxy, &db)).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 3).await;
    let mut reader = api.follow(fixture.id(), "").await;
    assert_eq!(reader.status, 200, "503 would end a browser's EventSource for good");
    assert!(reader.comment().await.contains("database is unavailable"));
    proxy.set(true);
    let all = reader.take(3).await;
    proxy.set(false);
    let request = api.request(reqwest::Method::GET, &format!("/api/v1/deploy/{}/events", fixture.id()));
    let mut resumed = Reader::open(request.header("last-event-id", &all[0].id)).await;
    fixture.build_lines(4, 4).await;
    proxy.set(true);
    assert_eq!(resumed.take(3).await[..2], all[1..], "its resume point is resolved later");
    assert_eq!(
        texts(&reader.take(1).await),
        ["[Stage 1] Docker 빌드 진행 중: line 4"],
        "and the first reader never noticed"
    );
}

#[tokio::test]
async fn events_outage__unknown_deployment_ends_stream_on_recovery() {
    let db = TestDb::new().await;
    let proxy = PostgresProxy::before(&db, false).await;
    let api = Api::serve(&through(&proxy, &db)).await;
    let mut reader = api.follow("dep_unknown", "").await;
    assert_eq!(reader.status, 200);
    proxy.set(true);
    assert_eq!(reader.rest().await, []);
    api.get("/api/v1/deploy/dep_unknown/events").await.problem(404, "DEPLOYMENT_NOT_FOUND");
}

#[tokio::test]
async fn events_outage__silent_listener_rebuilt_without_delaying_streams() {
    let db = TestDb::new().await;
    let proxy = PostgresProxy::before(&db, true).await;
    let api = Api::serve(&through(&proxy, &db)).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let mut reader = api.follow(fixture.id(), "").await;
    wait_for("a listener is connected", async || proxy.listeners() == 1).await;
    proxy.silence_listeners();
    let swallowed = Instant::now();
    let mut n = 0;
    while proxy.listeners() == 1 {
        n += 1;
        let committed = Instant::now();
        fixture.build_lines(n, n).await;
        db.db.notify_events(&[fixture.id().to_owned()]).await.unwrap();
        assert_eq!(texts(&reader.take(1).await), [format!("[Stage 1] Docker 빌드 진행 중: line {n}")]);
        assert!(committed.elapsed() < Duration::from_secs(2), "{:?}", committed.elapsed());
        assert!(swallowed.elapsed() < Duration::from_secs(10), "still not rebuilt after {:?}", swallowed.elapsed());
    }
    let mut best = Duration::MAX;
    for n in n + 1..=n + 10 {
        let committed = Instant::now();
        fixture.build_lines(n, n).await;
        db.db.notify_events(&[fixture.id().to_owned()]).await.unwrap();
        reader.take(1).await;
        best = best.min(committed.elapsed());
    }
    assert!(best < Duration::from_millis(500), "notifications arrive again: {best:?}");
}
