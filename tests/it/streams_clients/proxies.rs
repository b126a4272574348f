//! Streams behind Debian's nginx.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use panda_testing::proxy::FaultProxy;
use tokio::time::{Instant, sleep_until, timeout};

use super::browser::Pages;
use super::nginx::Nginx;
use super::programs;
use crate::http::{Api, ExternalServices, Fixture, Reader};
use crate::support::WAIT_LIMIT;
use crate::support::db::TestDb;
use crate::support::wait_for;

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

/// The recipe of docs/streaming.md for nginx, before `panda`.
pub(super) fn recipe(panda: SocketAddr) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/streaming.md");
    let text = std::fs::read_to_string(document).unwrap();
    let (_, block) = text.split_once("```nginx\n").expect("a recipe");
    let recipe = block.split_once("```").unwrap().0.replace("panda:8080", &panda.to_string());
    assert_eq!(recipe.matches(&panda.to_string()).count(), 2, "{recipe}");
    recipe
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy__recipe_loses_no_event_while_panda_is_down() {
    let (db, pages) = (TestDb::new().await, Pages::bind().await);
    let cors = format!("--cors-origins={}", pages.origin);
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &[&cors]).await;
    let panda = FaultProxy::tcp(&[api.address.to_string()], |_| false).await;
    let recipe = Nginx::serving(&recipe(panda.address())).await;
    // A load balancer that answers 502 itself, before an nginx that is always there.
    let (balancer, plain) = tokio::join!(Nginx::before(recipe.address, ""), Nginx::before(panda.address(), ""));
    let mut fixture = Fixture::begin(&db.db).await;
    let path = format!("/api/v1/deploy/{}/events", fixture.id());
    fixture.build_lines(1, 10).await;
    let browser = pages.open(&recipe.url, &balancer.url, fixture.id());
    let readers = [
        browser.plain.clone(),
        browser.follow.clone(),
        programs::npm("npm eventsource behind the recipe", &format!("{}{path}", recipe.url)),
        programs::npm("npm eventsource behind balancer and recipe", &format!("{}{path}", balancer.url)),
    ];
    let without = programs::npm("npm eventsource without the recipe", &format!("{}{path}", plain.url));
    for reader in readers.iter().chain([&without]) {
        wait_for("the reader has read the first events", async || reader.count() == 10).await;
    }
    panda.set(false);
    let tries = panda.connections();
    fixture.build_lines(11, 20).await;
    // Five seconds later the readers reconnect, and find no Panda; those behind the recipe ask again every second.
    wait_for("the reader without the recipe has stopped for good", async || without.end()).await;
    wait_for("the others ask again and again", async || panda.connections() > tries + 12).await;
    let away = reqwest::get(format!("{}{path}", recipe.url)).await.unwrap();
    assert_eq!(
        (away.status().as_u16(), &away.headers()["content-type"]),
        (200, &"text/event-stream; charset=utf-8".parse().unwrap())
    );
    assert_eq!(away.text().await.unwrap(), "retry: 1000\n: Panda is unreachable\n\n");
    let result = reqwest::get(format!("{}/api/v1/deploy/{}/result", recipe.url, fixture.id())).await.unwrap();
    assert_eq!(result.status(), 502, "only streams are answered for Panda");
    fixture.build_lines(21, 30).await;
    panda.set(true);
    fixture.complete().await;
    let sent = Reader::open(api.request(reqwest::Method::GET, &path)).await.take(32).await;
    for reader in &readers {
        let end = wait_for("the reader ends on 204", async || reader.end()).await;
        assert_eq!(end, "home", "{}", reader.name);
        reader.read_exactly(&sent);
    }
    println!("with the recipe: 32 of 32 events; without: {} of 32", without.count());
    assert_eq!(without.count(), 10, "this is why the recipe is needed");
}
