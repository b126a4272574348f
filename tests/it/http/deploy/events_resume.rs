//! Coming back: nothing twice, nothing lost, and no more coming back when nothing can come.

use reqwest::Method;

use crate::http::{Answer, Api, Reader, Story};
use crate::support::db::TestDb;
use crate::support::wait_for;
use crate::support::wishes::Wishes;

async fn resume(api: &Api, id: &str, last: &str) -> Reader {
    let request = api.request(Method::GET, &format!("/api/v1/deploy/{id}/events"));
    Reader::open(request.header("last-event-id", last)).await
}

#[tokio::test]
async fn a_reader_goes_on_right_after_its_last_event() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let other = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 300).await;
    let all = api.follow(story.id(), "").await.take(300).await;
    for at in [0, 7, 150, 298] {
        let expected = &all[at + 1..];
        assert_eq!(resume(&other, story.id(), &all[at].id).await.take(expected.len()).await, expected);
        let query = format!("?lastEventId={}", all[at].id);
        assert_eq!(api.follow(story.id(), &query).await.take(expected.len()).await, expected);
    }
    let mut live = resume(&api, story.id(), &all[299].id).await;
    story.build_lines(301, 301).await;
    api.hub.nudge(story.id());
    assert_eq!(live.take(1).await[0].text(), "[Stage 1] Docker 빌드 진행 중: line 301");
}

#[tokio::test]
async fn the_header_is_newer_than_the_query() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 3).await;
    let all = api.follow(story.id(), "").await.take(3).await;
    let path = format!("/api/v1/deploy/{}/events?lastEventId={}", story.id(), all[0].id);
    let mut reader = Reader::open(api.request(Method::GET, &path).header("last-event-id", &all[1].id)).await;
    assert_eq!(reader.take(1).await, all[2..]);
}

#[tokio::test]
async fn an_id_that_the_deployment_does_not_have_replays_everything() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let (mut story, mut other) = (Story::begin(&db.db).await, Story::begin(&db.db).await);
    story.build_lines(1, 2).await;
    other.build_lines(1, 1).await;
    let foreign = api.follow(other.id(), "").await.take(1).await.remove(0).id;
    let all = api.follow(story.id(), "").await.take(2).await;
    for id in [foreign.as_str(), &uuid::Uuid::new_v4().to_string(), "7", "undefined", "%00"] {
        assert_eq!(resume(&api, story.id(), id).await.take(2).await, all, "{id}");
        assert_eq!(api.follow(story.id(), &format!("?lastEventId={id}")).await.take(2).await, all, "{id}");
    }
}

#[tokio::test]
async fn a_reader_that_has_everything_of_a_finished_deployment_is_sent_home() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.fail().await;
    let last = api.follow(story.id(), "").await.take(1).await.remove(0).id;
    let path = format!("/api/v1/deploy/{}/events", story.id());
    let answer = Answer::of(api.request(Method::GET, &path).header("last-event-id", &last).send().await.unwrap()).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    assert_eq!(api.get(&format!("{path}?lastEventId={last}")).await.status, 204);
    assert_eq!(api.follow(story.id(), "").await.status, 200, "a new reader gets the history");
}

#[tokio::test]
async fn a_ready_deployment_sends_readers_home_until_it_is_switched() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.ready().await;
    let all = api.follow(story.id(), "").await.take(2).await;
    assert_eq!(resume(&api, story.id(), &all[1].id).await.status, 204);
    assert_eq!(resume(&api, story.id(), &all[0].id).await.take(1).await, all[1..], "one is still missing there");
    // Straight into the table, as another process would: this one's hub may not know for a second.
    db.db.request_switch(story.id()).await.unwrap();
    let mut reader = resume(&api, story.id(), &all[1].id).await;
    assert_eq!(reader.status, 200);
    story.claim_again().await;
    story.complete().await;
    let rest = reader.rest().await;
    let kinds: Vec<&str> = rest.iter().map(|message| message.event.as_str()).collect();
    assert_eq!(kinds, ["stage", "success"]);
    assert_eq!(resume(&api, story.id(), &rest[1].id).await.status, 204);
    wait_for("the hub forgets what nobody watches", async || (api.hub.watched() == 0).then_some(())).await;
}
