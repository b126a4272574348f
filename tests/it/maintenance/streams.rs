//! Streams whose events were removed: none hangs, repeats an event, or omits an existing one.

use panda::domain::maintenance::RetentionKind;
use pretty_assertions::assert_eq;
use reqwest::Method;

use super::{Keeper, age};
use crate::http::{Api, Fixture, Reader};
use crate::support::commands::Commands;
use crate::support::db::TestDb;

async fn resume(api: &Api, path: &str, last: &str) -> Reader {
    Reader::open(api.request(Method::GET, path).header("last-event-id", last)).await
}

/// A finished deployment of 600 lines, more than a process keeps in memory.
async fn finished(db: &TestDb) -> Fixture {
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 300).await;
    fixture.ready().await;
    db.db.request_switch(fixture.id()).await.unwrap();
    fixture.claim_again().await;
    fixture.build_lines(301, 600).await;
    fixture.complete().await;
    fixture
}

#[tokio::test]
async fn retention_streams__removed_build_lines_leave_rest_in_order() {
    let db = TestDb::new().await;
    let fixture = finished(&db).await;
    let path = format!("/api/v1/deploy/{}/events", fixture.id());
    let before = Api::serve(&db.db).await.follow(fixture.id(), "").await.take(604).await;
    age(&db, fixture.id(), 40).await;
    assert_eq!(Keeper::of(&db.db, RetentionKind::BuildLines, "30d").tick(1).await.removed, 600);
    let left = [&before[300..302], &before[602..]].concat();

    let api = Api::serve(&db.db).await;
    assert_eq!(api.follow(fixture.id(), "").await.rest().await, left);
    for at in 0..3 {
        assert_eq!(resume(&api, &path, &left[at].id).await.rest().await, left[at + 1..]);
    }
    assert_eq!(resume(&api, &path, &left[3].id).await.status, 204, "it has everything");
    assert_eq!(resume(&api, &path, &before[17].id).await.rest().await, left, "an id of a removed event");
    let english = api.follow(fixture.id(), "?lang=en").await.rest().await;
    let ids =
        |messages: &[crate::support::sse_reader::Message]| messages.iter().map(|m| m.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&english), ids(&left));
}

#[tokio::test]
async fn retention_streams__connected_reader_gets_the_rest() {
    let db = TestDb::new().await;
    let fixture = finished(&db).await;
    age(&db, fixture.id(), 40).await;
    let api = Api::serve(&db.db).await;
    let mut reader = api.follow(fixture.id(), "").await;
    let begun = reader.take(1).await;
    Keeper::of(&db.db, RetentionKind::BuildLines, "30d").tick(1).await;
    let rest = reader.rest().await;
    assert_eq!(begun[0].text(), "[Stage 1] Docker 빌드 진행 중: line 1");
    let mut numbers: Vec<_> = rest.iter().map(|message| &message.id).collect();
    let (count, last) = (numbers.len(), rest.last().unwrap());
    numbers.dedup();
    assert_eq!((numbers.len(), last.event.as_str()), (count, "success"), "each once, and the last one last");
    let texts: Vec<String> = rest.iter().map(crate::support::sse_reader::Message::text).collect();
    assert!(texts.iter().any(|text| text.contains("트래픽 전환 대기")), "the remaining events are sent: {texts:?}");
}

#[tokio::test]
async fn retention_streams__removed_events_leave_the_end_and_204() {
    let db = TestDb::new().await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 3).await;
    fixture.fail().await;
    let path = format!("/api/v1/deploy/{}/events", fixture.id());
    let before = Api::serve(&db.db).await.follow(fixture.id(), "").await.take(4).await;
    age(&db, fixture.id(), 200).await;
    Keeper::of(&db.db, RetentionKind::Events, "180d").tick(1).await;
    let api = Api::serve(&db.db).await;
    assert_eq!(api.follow(fixture.id(), "").await.rest().await, before[3..]);
    assert_eq!(resume(&api, &path, &before[1].id).await.rest().await, before[3..]);
    assert_eq!(resume(&api, &path, &before[3].id).await.status, 204);
}

#[tokio::test]
async fn retention_streams__feed_resumes_from_removed_event() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut old = Fixture::begin(&db.db).await;
    let mut all = Reader::open(api.request(Method::GET, "/api/v1/events")).await;
    old.build_lines(1, 2).await;
    old.fail().await;
    let received = all.take(3).await;
    let mut young = Fixture::begin(&db.db).await;
    young.build_lines(1, 2).await;
    let later = all.take(2).await;
    age(&db, old.id(), 40).await;
    assert_eq!(Keeper::of(&db.db, RetentionKind::BuildLines, "30d").tick(1).await.removed, 2);

    let fresh = Api::serve(&db.db).await;
    let mut resumed = resume(&fresh, "/api/v1/events", &received[1].id).await;
    assert_eq!(resumed.take(3).await, [&received[2..], &later].concat(), "every remaining event is sent");
    // An id that never existed starts at the present, as before.
    let newest = received.last().unwrap().id.split_once('.').unwrap().0.parse::<i64>().unwrap();
    let beyond = format!("{}.{}", newest + 1_000_000, uuid::Uuid::new_v4());
    let mut unknown = resume(&fresh, "/api/v1/events", &beyond).await;
    assert!(unknown.comment().await.starts_with("unknown last event id"));
    let mut after = resume(&fresh, "/api/v1/events", &later[1].id).await;
    young.build_lines(3, 3).await;
    assert_eq!(after.take(1).await[0].text(), "[Stage 1] Docker 빌드 진행 중: line 3");
}
