//! Reconnecting: nothing repeated, nothing lost, and no further reconnects when no more events can follow.

use reqwest::Method;

use crate::http::{Answer, Api, Fixture, Reader};
use crate::support::commands::Commands;
use crate::support::db::TestDb;
use crate::support::wait_for;

async fn resume(api: &Api, id: &str, last: &str) -> Reader {
    let request = api.request(Method::GET, &format!("/api/v1/deploy/{id}/events"));
    Reader::open(request.header("last-event-id", last)).await
}

#[tokio::test]
async fn events_resume__continues_after_last_event() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let other = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 300).await;
    let all = api.follow(fixture.id(), "").await.take(300).await;
    for at in [0, 7, 150, 298] {
        let expected = &all[at + 1..];
        assert_eq!(resume(&other, fixture.id(), &all[at].id).await.take(expected.len()).await, expected);
        let query = format!("?lastEventId={}", all[at].id);
        assert_eq!(api.follow(fixture.id(), &query).await.take(expected.len()).await, expected);
    }
    let mut live = resume(&api, fixture.id(), &all[299].id).await;
    fixture.build_lines(301, 301).await;
    api.hub.notify(fixture.id());
    assert_eq!(live.take(1).await[0].text(), "[Stage 1] Docker 빌드 진행 중: line 301");
}

#[tokio::test]
async fn events_resume__header_wins_over_query() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 3).await;
    let all = api.follow(fixture.id(), "").await.take(3).await;
    let path = format!("/api/v1/deploy/{}/events?lastEventId={}", fixture.id(), all[0].id);
    let mut reader = Reader::open(api.request(Method::GET, &path).header("last-event-id", &all[1].id)).await;
    assert_eq!(reader.take(1).await, all[2..]);
}

#[tokio::test]
async fn events_resume__unknown_id_replays_everything() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let (mut fixture, mut other) = (Fixture::begin(&db.db).await, Fixture::begin(&db.db).await);
    fixture.build_lines(1, 2).await;
    other.build_lines(1, 1).await;
    let foreign = api.follow(other.id(), "").await.take(1).await.remove(0).id;
    let all = api.follow(fixture.id(), "").await.take(2).await;
    for id in [foreign.as_str(), &uuid::Uuid::new_v4().to_string(), "7", "undefined", "%00"] {
        assert_eq!(resume(&api, fixture.id(), id).await.take(2).await, all, "{id}");
        assert_eq!(api.follow(fixture.id(), &format!("?lastEventId={id}")).await.take(2).await, all, "{id}");
    }
}

#[tokio::test]
async fn events_resume__complete_reader_of_finished_gets_204() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.fail().await;
    let last = api.follow(fixture.id(), "").await.take(1).await.remove(0).id;
    let path = format!("/api/v1/deploy/{}/events", fixture.id());
    let answer = Answer::of(api.request(Method::GET, &path).header("last-event-id", &last).send().await.unwrap()).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    assert_eq!(api.get(&format!("{path}?lastEventId={last}")).await.status, 204);
    assert_eq!(api.follow(fixture.id(), "").await.status, 200, "a new reader gets the history");
}

#[tokio::test]
async fn events_resume__ready_deployment_answers_204_until_switched() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.ready().await;
    let all = api.follow(fixture.id(), "").await.take(2).await;
    assert_eq!(resume(&api, fixture.id(), &all[1].id).await.status, 204);
    assert_eq!(resume(&api, fixture.id(), &all[0].id).await.take(1).await, all[1..], "one is still missing there");
    // Writes directly to the table, as another process would: this one's hub may not notice for a second.
    db.db.request_switch(fixture.id()).await.unwrap();
    let mut reader = resume(&api, fixture.id(), &all[1].id).await;
    assert_eq!(reader.status, 200);
    fixture.claim_again().await;
    fixture.complete().await;
    let rest = reader.rest().await;
    let kinds: Vec<&str> = rest.iter().map(|message| message.event.as_str()).collect();
    assert_eq!(kinds, ["stage", "success"]);
    assert_eq!(resume(&api, fixture.id(), &rest[1].id).await.status, 204);
    wait_for("the hub drops deployments without subscribers", async || (api.hub.watched() == 0).then_some(())).await;
}

#[tokio::test]
async fn events_resume__rollback_after_completion_reaches_reader_of_success() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.switched().await;
    let all = api.follow(fixture.id(), "").await.rest().await;
    assert_eq!(resume(&api, fixture.id(), &all[1].id).await.status, 204, "watched, and nothing to be looked at");
    assert_eq!(db.db.request_looks(&[fixture.id().to_owned()]).await.unwrap(), 1);
    let mut reader = resume(&api, fixture.id(), &all[1].id).await;
    assert_eq!(reader.status, 200, "events may follow while a replica looks");
    fixture.claim_again().await;
    fixture.roll_back().await;
    let rest = reader.rest().await;
    let kinds: Vec<&str> = rest.iter().map(|message| message.event.as_str()).collect();
    assert_eq!(kinds, ["fail"]);
    assert_eq!(resume(&api, fixture.id(), &all[1].id).await.take(1).await, rest, "a late reader gets it, too");
    assert_eq!(resume(&api, fixture.id(), &rest[0].id).await.status, 204);
}
