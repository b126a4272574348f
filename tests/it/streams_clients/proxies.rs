//! Streams behind Debian's nginx.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until, timeout};

use super::nginx::Nginx;
use crate::http::{Api, Fixture, Reader};
use crate::support::WAIT_LIMIT;
use crate::support::db::TestDb;

#[tokio::test]
async fn proxy__nginx_defaults_do_not_buffer() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let nginx = Nginx::before(api.address, "").await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    let events = format!("{}/api/v1/deploy/{}/events", nginx.url, fixture.id());
    let mut reader = Reader::open(reqwest::Client::new().get(&events)).await;
    // Each event is read before the next one happens, so that later data cannot push a buffered event out.
    let first = reader.take(1).await.remove(0);
    for n in 2..=5 {
        fixture.build_lines(n, n).await;
        api.hub.notify(fixture.id());
        assert!(reader.take(1).await[0].text().ends_with(&format!("line {n}")));
    }
    fixture.fail().await;
    assert_eq!(reader.rest().await.len(), 1, "nginx ends the stream cleanly");
    let mut resumed = Reader::open(reqwest::Client::new().get(&events).header("last-event-id", &first.id)).await;
    let last = resumed.take(5).await.remove(4).id;
    assert_eq!(reqwest::get(format!("{events}?lastEventId={last}")).await.unwrap().status(), 204);
}

#[tokio::test]
async fn proxy__quiet_stream_outlives_time_limit() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    // nginx's default is a minute. It is shortened to just above the 15 s between two keep-alives; a limit below shows that nothing else keeps a
    // connection open.
    let (nginx, strict) = tokio::join!(
        Nginx::before(api.address, "proxy_read_timeout 20s;"),
        Nginx::before(api.address, "proxy_read_timeout 2s;"),
    );
    let mut fixture = Fixture::begin(&db.db).await;
    let path = format!("/api/v1/deploy/{}/events", fixture.id());
    let mut reader = Reader::open(reqwest::Client::new().get(format!("{}{path}", nginx.url))).await;
    let opened = Instant::now();
    let mut cut = reqwest::get(format!("{}{path}", strict.url)).await.unwrap().bytes_stream();
    let end = timeout(WAIT_LIMIT, cut.next()).await.expect("nginx ends it");
    assert!(!matches!(end, Some(Ok(_))), "before any keep-alive: {end:?}");
    // The test needs real time: longer than the limit.
    sleep_until(opened + Duration::from_secs(22)).await;
    fixture.build_lines(1, 1).await;
    api.hub.notify(fixture.id());
    assert_eq!(reader.take(1).await.len(), 1);
    assert_eq!(reader.comments, ["keep-alive"]);
}
