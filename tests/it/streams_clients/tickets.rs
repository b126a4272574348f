//! Readers of a Panda that requires authentication.

use panda::commands::tokens::revoke_token;
use panda::domain::principal::{Caller, Role};
use panda_testing::proxy::FaultProxy;

use super::programs::{client_js_with_tickets, npm};
use super::reader::ForeignReader;
use crate::http::auth::Token;
use crate::http::{Api, ExternalServices, Fixture};
use crate::support::db::TestDb;
use crate::support::wait_for;

async fn has_read(reader: &ForeignReader, events: usize) {
    wait_for("the reader has read the events", async || reader.count() == events).await;
}

#[tokio::test]
async fn readers__new_ticket_per_connection_loses_nothing() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--auth=required"]).await;
    // Its connections are cut, so a page reconnects with a new ticket each time.
    let proxy = FaultProxy::tcp(&[api.address.to_string()], |_| false).await;
    let token = Token::scoped(&db.db, Role::Viewer, &["acme/shop"]).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let reader = client_js_with_tickets(&format!("http://{}", proxy.address()), fixture.id(), &token.secret);
    for n in 1..=4 {
        fixture.build_lines(n, n).await;
        has_read(&reader, usize::try_from(n).unwrap()).await;
        proxy.cut();
        wait_for("the stream has ended", async || api.open_streams() == 0).await;
    }
    fixture.fail().await;
    wait_for("the reader has received 204", async || reader.end().is_some()).await;
    assert_eq!(reader.end().as_deref(), Some("home"));
    let path = format!("/api/v1/deploy/{}/events", fixture.id());
    reader.read_exactly(&token.follow(&api, &path).await.take(5).await);
}

#[tokio::test]
async fn readers__revoked_reader_stops_reconnecting() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--auth=required"]).await;
    let token = Token::of(&db.db, Role::Viewer).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let reader = client_js_with_tickets(&format!("http://{}", api.address), fixture.id(), &token.secret);
    let made = token.post(&api, &format!("/api/v1/deploy/{}/ticket", fixture.id()), &serde_json::Value::Null).await;
    let ticket = made.json()["data"]["ticket"].as_str().unwrap().to_owned();
    let events = format!("http://{}/api/v1/deploy/{}/events?ticket={ticket}", api.address, fixture.id());
    let plain = npm("npm's EventSource with a ticket", &events);
    fixture.build_lines(1, 1).await;
    has_read(&reader, 1).await;
    has_read(&plain, 1).await;
    revoke_token(&db.db, &token.id, &Caller::local()).await.unwrap();
    // The EventSource ends with a 401, not with 204.
    wait_for("the EventSource has ended", async || plain.end().is_some()).await;
    assert_ne!(plain.end().as_deref(), Some("home"));
    // Its back end gets no more tickets. That may be temporary, so it keeps retrying.
    wait_for("no stream is open", async || api.open_streams() == 0).await;
    fixture.build_lines(2, 2).await;
    assert_eq!((reader.count(), plain.count()), (1, 1));
}
