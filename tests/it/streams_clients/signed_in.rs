//! Readers of a Panda that asks who is there.

use panda::domain::principal::{Caller, Role};

use super::programs::{client_js_with_tickets, npm};
use super::reader::Reader;
use crate::http::auth::Token;
use crate::http::{Api, Outside, Story};
use crate::support::db::TestDb;
use crate::support::wait_for;

async fn has_read(reader: &Reader, events: usize) {
    wait_for("it has read so many", async || reader.count() == events).await;
}

#[tokio::test]
async fn with_tickets_every_event_is_read_once_though_each_connection_needs_another_one() {
    let db = TestDb::new().await;
    // Streams end after half a second: a page comes back with another ticket each time.
    let flags = ["--auth=required", "--stream-rotation-ms=500"];
    let api = Api::serve_with(&db.db, &Outside::default(), &flags).await;
    let token = Token::scoped(&db.db, Role::Viewer, &["acme/shop"]).await;
    let mut story = Story::begin(&db.db).await;
    let reader = client_js_with_tickets(&format!("http://{}", api.address), story.id(), &token.secret);
    for n in 1..=4 {
        story.build_lines(n, n).await;
        has_read(&reader, usize::try_from(n).unwrap()).await;
        wait_for("its stream has ended", async || api.open_streams() == 0).await;
    }
    story.fail().await;
    wait_for("it has gone home", async || reader.end().is_some()).await;
    assert_eq!(reader.end().as_deref(), Some("home"));
    let path = format!("/api/v1/deploy/{}/events", story.id());
    reader.read_exactly(&token.follow(&api, &path).await.take(5).await);
}

#[tokio::test]
async fn whoever_loses_the_right_is_refused_and_does_not_come_back() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &Outside::default(), &["--auth=required"]).await;
    let token = Token::of(&db.db, Role::Viewer).await;
    let mut story = Story::begin(&db.db).await;
    let reader = client_js_with_tickets(&format!("http://{}", api.address), story.id(), &token.secret);
    let made = token.post(&api, &format!("/api/v1/deploy/{}/ticket", story.id()), &serde_json::Value::Null).await;
    let ticket = made.json()["data"]["ticket"].as_str().unwrap().to_owned();
    let events = format!("http://{}/api/v1/deploy/{}/events?ticket={ticket}", api.address, story.id());
    let plain = npm("npm's EventSource with a ticket", &events);
    story.build_lines(1, 1).await;
    has_read(&reader, 1).await;
    has_read(&plain, 1).await;
    db.db.revoke_token(&token.id, &Caller::local()).await.unwrap();
    // The EventSource's end is a 401, and no 204.
    wait_for("the EventSource has given up", async || plain.end().is_some()).await;
    assert_ne!(plain.end().as_deref(), Some("home"));
    // Its back end gets no tickets any more, which is an answer that may be another one tomorrow: it goes on asking.
    wait_for("no stream is open", async || api.open_streams() == 0).await;
    story.build_lines(2, 2).await;
    assert_eq!((reader.count(), plain.count()), (1, 1));
}
