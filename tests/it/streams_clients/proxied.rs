//! Behind Debian's nginx.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until, timeout};

use super::nginx::Nginx;
use crate::http::{Api, Reader, Story};
use crate::support::SOON;
use crate::support::db::TestDb;

#[tokio::test]
async fn behind_nginx_with_its_defaults_events_come_as_they_happen_and_the_stream_ends() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let nginx = Nginx::before(api.address, "").await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 1).await;
    let events = format!("{}/api/v1/deploy/{}/events", nginx.url, story.id());
    let mut reader = Reader::open(reqwest::Client::new().get(&events)).await;
    // Each is read before the next one happens: nothing that nginx kept back could be pushed out by what follows.
    let first = reader.take(1).await.remove(0);
    for n in 2..=5 {
        story.build_lines(n, n).await;
        api.hub.nudge(story.id());
        assert!(reader.take(1).await[0].text().ends_with(&format!("line {n}")));
    }
    story.fail().await;
    assert_eq!(reader.rest().await.len(), 1, "the end is an end there too, and no broken connection");
    let mut resumed = Reader::open(reqwest::Client::new().get(&events).header("last-event-id", &first.id)).await;
    let last = resumed.take(5).await.remove(4).id;
    assert_eq!(reqwest::get(format!("{events}?lastEventId={last}")).await.unwrap().status(), 204);
}

#[tokio::test]
async fn a_quiet_stream_outlives_a_proxys_time_limit() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    // nginx's default is a minute. It is shortened to what is just above the 15 s between two keep-alives; one below them shows that
    // nothing else keeps a connection.
    let (nginx, strict) = tokio::join!(
        Nginx::before(api.address, "proxy_read_timeout 20s;"),
        Nginx::before(api.address, "proxy_read_timeout 2s;"),
    );
    let mut story = Story::begin(&db.db).await;
    let path = format!("/api/v1/deploy/{}/events", story.id());
    let mut reader = Reader::open(reqwest::Client::new().get(format!("{}{path}", nginx.url))).await;
    let opened = Instant::now();
    let mut cut = reqwest::get(format!("{}{path}", strict.url)).await.unwrap().bytes_stream();
    let end = timeout(SOON, cut.next()).await.expect("nginx ends it");
    assert!(!matches!(end, Some(Ok(_))), "before any keep-alive: {end:?}");
    // Time itself is what is tested: longer than the limit.
    sleep_until(opened + Duration::from_secs(22)).await;
    story.build_lines(1, 1).await;
    api.hub.nudge(story.id());
    assert_eq!(reader.take(1).await.len(), 1);
    assert_eq!(reader.comments, ["keep-alive"]);
}
