//! Streams while notifications are lost, the listener breaks, or the database is away.

use std::time::Duration;

use sqlx::Executor;
use tokio::time::Instant;

use crate::http::reader::texts;
use crate::http::{Api, Reader, Story};
use crate::support::db::TestDb;
use crate::support::gate::Gate;
use crate::support::wait_for;

#[tokio::test]
async fn a_lost_notification_costs_less_than_two_seconds() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    let mut reader = api.follow(story.id(), "").await;
    for n in 1..=3 {
        let committed = Instant::now();
        story.build_lines(n, n).await;
        reader.take(1).await;
        assert!(committed.elapsed() < Duration::from_secs(2), "{:?}", committed.elapsed());
    }
}

#[tokio::test]
async fn a_notification_reaches_the_streams_of_every_process_at_once() {
    let db = TestDb::new().await;
    let (api, other) = (Api::serve(&db.db).await, Api::serve(&db.db).await);
    let mut story = Story::begin(&db.db).await;
    let mut readers = [api.follow(story.id(), "").await, other.follow(story.id(), "").await];
    let mut best = Duration::MAX;
    for n in 1..=10 {
        let committed = Instant::now();
        story.build_lines(n, n).await;
        db.db.notify_events(&[story.id().to_owned()]).await.unwrap();
        for reader in &mut readers {
            reader.take(1).await;
        }
        best = best.min(committed.elapsed());
    }
    assert!(best < Duration::from_millis(500), "only the once-a-second look found it: {best:?}");
}

#[tokio::test]
async fn streams_complete_when_the_listener_is_killed() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    let mut reader = api.follow(story.id(), "").await;
    let mut psql = db.psql().await;
    for n in 1..=3 {
        let listening = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                         WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        let killed = wait_for("somebody listens", async || {
            Some(psql.execute(listening).await.unwrap().rows_affected()).filter(|killed| *killed > 0)
        });
        assert_eq!(killed.await, 1, "one listener a process");
        let committed = Instant::now();
        story.build_lines(n, n).await;
        assert_eq!(texts(&reader.take(1).await), [format!("[Stage 1] Docker 빌드 진행 중: line {n}")]);
        assert!(committed.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_stream_opened_while_the_database_is_away_begins_when_it_is_back() {
    let db = TestDb::new().await;
    let gate = Gate::before(&db, false).await;
    let api = Api::serve(&gate.db(&db)).await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 3).await;
    let mut reader = api.follow(story.id(), "").await;
    assert_eq!(reader.status, 200, "503 would end a browser's EventSource for good");
    assert!(reader.comment().await.contains("database is away"));
    gate.set(true);
    let all = reader.take(3).await;
    gate.set(false);
    let request = api.request(reqwest::Method::GET, &format!("/api/v1/deploy/{}/events", story.id()));
    let mut resumed = Reader::open(request.header("last-event-id", &all[0].id)).await;
    story.build_lines(4, 4).await;
    gate.set(true);
    assert_eq!(resumed.take(3).await[..2], all[1..], "its place is found later");
    assert_eq!(
        texts(&reader.take(1).await),
        ["[Stage 1] Docker 빌드 진행 중: line 4"],
        "and the first reader never noticed"
    );
}

#[tokio::test]
async fn an_unknown_deployment_is_told_by_the_end_when_the_database_is_back() {
    let db = TestDb::new().await;
    let gate = Gate::before(&db, false).await;
    let api = Api::serve(&gate.db(&db)).await;
    let mut reader = api.follow("dep_unknown", "").await;
    assert_eq!(reader.status, 200);
    gate.set(true);
    assert_eq!(reader.rest().await, []);
    api.get("/api/v1/deploy/dep_unknown/events").await.problem(404, "DEPLOYMENT_NOT_FOUND");
}

#[tokio::test]
async fn a_listener_that_the_network_has_swallowed_is_rebuilt_and_streams_do_not_wait_for_that() {
    let db = TestDb::new().await;
    let gate = Gate::before(&db, true).await;
    let api = Api::serve(&gate.db(&db)).await;
    let mut story = Story::begin(&db.db).await;
    let mut reader = api.follow(story.id(), "").await;
    wait_for("somebody listens", async || gate.listeners() == 1).await;
    gate.swallow_listeners();
    let swallowed = Instant::now();
    let mut n = 0;
    while gate.listeners() == 1 {
        n += 1;
        let committed = Instant::now();
        story.build_lines(n, n).await;
        db.db.notify_events(&[story.id().to_owned()]).await.unwrap();
        assert_eq!(texts(&reader.take(1).await), [format!("[Stage 1] Docker 빌드 진행 중: line {n}")]);
        assert!(committed.elapsed() < Duration::from_secs(2), "{:?}", committed.elapsed());
        assert!(swallowed.elapsed() < Duration::from_secs(10), "still not rebuilt after {:?}", swallowed.elapsed());
    }
    let mut best = Duration::MAX;
    for n in n + 1..=n + 10 {
        let committed = Instant::now();
        story.build_lines(n, n).await;
        db.db.notify_events(&[story.id().to_owned()]).await.unwrap();
        reader.take(1).await;
        best = best.min(committed.elapsed());
    }
    assert!(best < Duration::from_millis(500), "notifications come again: {best:?}");
}
