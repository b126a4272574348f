//! Streams whose events were removed: nothing hangs, nothing comes twice, nothing that is there is left out.

use panda::domain::maintenance::Kind;
use pretty_assertions::assert_eq;
use reqwest::Method;

use super::{Keeper, age};
use crate::http::{Api, Reader, Story};
use crate::support::db::TestDb;
use crate::support::wishes::Wishes;

async fn resume(api: &Api, path: &str, last: &str) -> Reader {
    Reader::open(api.request(Method::GET, path).header("last-event-id", last)).await
}

/// A finished deployment of 600 lines, more than a process keeps in memory.
async fn finished(db: &TestDb) -> Story {
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 300).await;
    story.ready().await;
    db.db.request_switch(story.id()).await.unwrap();
    story.claim_again().await;
    story.build_lines(301, 600).await;
    story.complete().await;
    story
}

#[tokio::test]
async fn a_stream_without_its_build_lines_tells_the_rest_in_order_and_ends() {
    let db = TestDb::new().await;
    let story = finished(&db).await;
    let path = format!("/api/v1/deploy/{}/events", story.id());
    let before = Api::serve(&db.db).await.follow(story.id(), "").await.take(604).await;
    age(&db, story.id(), 40).await;
    assert_eq!(Keeper::of(&db.db, Kind::BuildLines, "30d").tick(1).await.removed, 600);
    let left = [&before[300..302], &before[602..]].concat();

    let api = Api::serve(&db.db).await;
    assert_eq!(api.follow(story.id(), "").await.rest().await, left);
    for at in 0..3 {
        assert_eq!(resume(&api, &path, &left[at].id).await.rest().await, left[at + 1..]);
    }
    assert_eq!(resume(&api, &path, &left[3].id).await.status, 204, "it has everything");
    assert_eq!(resume(&api, &path, &before[17].id).await.rest().await, left, "of an event that is gone");
    let english = api.follow(story.id(), "?lang=en").await.rest().await;
    let ids = |messages: &[crate::http::reader::Message]| messages.iter().map(|m| m.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&english), ids(&left));
}

#[tokio::test]
async fn a_reader_who_is_there_while_lines_are_removed_gets_the_rest() {
    let db = TestDb::new().await;
    let story = finished(&db).await;
    age(&db, story.id(), 40).await;
    let api = Api::serve(&db.db).await;
    let mut reader = api.follow(story.id(), "").await;
    let begun = reader.take(1).await;
    Keeper::of(&db.db, Kind::BuildLines, "30d").tick(1).await;
    let rest = reader.rest().await;
    assert_eq!(begun[0].text(), "[Stage 1] Docker 빌드 진행 중: line 1");
    let mut numbers: Vec<_> = rest.iter().map(|message| &message.id).collect();
    let (count, last) = (numbers.len(), rest.last().unwrap());
    numbers.dedup();
    assert_eq!((numbers.len(), last.event.as_str()), (count, "success"), "each once, and the last one last");
    let texts: Vec<String> = rest.iter().map(crate::http::reader::Message::text).collect();
    assert!(texts.iter().any(|text| text.contains("트래픽 전환 대기")), "what stays is told: {texts:?}");
}

#[tokio::test]
async fn a_deployment_whose_events_are_over_tells_how_it_ended_and_sends_readers_home() {
    let db = TestDb::new().await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 3).await;
    story.fail().await;
    let path = format!("/api/v1/deploy/{}/events", story.id());
    let before = Api::serve(&db.db).await.follow(story.id(), "").await.take(4).await;
    age(&db, story.id(), 200).await;
    Keeper::of(&db.db, Kind::Events, "180d").tick(1).await;
    let api = Api::serve(&db.db).await;
    assert_eq!(api.follow(story.id(), "").await.rest().await, before[3..]);
    assert_eq!(resume(&api, &path, &before[1].id).await.rest().await, before[3..]);
    assert_eq!(resume(&api, &path, &before[3].id).await.status, 204);
}

#[tokio::test]
async fn the_stream_of_all_goes_on_from_an_event_that_was_removed() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut old = Story::begin(&db.db).await;
    let mut all = Reader::open(api.request(Method::GET, "/api/v1/events")).await;
    old.build_lines(1, 2).await;
    old.fail().await;
    let told = all.take(3).await;
    let mut young = Story::begin(&db.db).await;
    young.build_lines(1, 2).await;
    let later = all.take(2).await;
    age(&db, old.id(), 40).await;
    assert_eq!(Keeper::of(&db.db, Kind::BuildLines, "30d").tick(1).await.removed, 2);

    let fresh = Api::serve(&db.db).await;
    let mut resumed = resume(&fresh, "/api/v1/events", &told[1].id).await;
    assert_eq!(resumed.take(3).await, [&told[2..], &later].concat(), "nothing that is left is left out");
    // An id that never was begins with now, as before.
    let newest = told.last().unwrap().id.split_once('.').unwrap().0.parse::<i64>().unwrap();
    let beyond = format!("{}.{}", newest + 1_000_000, uuid::Uuid::new_v4());
    let mut unknown = resume(&fresh, "/api/v1/events", &beyond).await;
    assert!(unknown.comment().await.starts_with("unknown last event id"));
    let mut after = resume(&fresh, "/api/v1/events", &later[1].id).await;
    young.build_lines(3, 3).await;
    assert_eq!(after.take(1).await[0].text(), "[Stage 1] Docker 빌드 진행 중: line 3");
}
