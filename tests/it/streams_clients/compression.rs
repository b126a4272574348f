//! Proxies that compress do not hold events back. The input that failed: Express with `compression` and `http-proxy-middleware`, which sent six
//! events in one piece. Its siblings: newer versions of both, `http-proxy` alone, a front end's server that passes on what `fetch` returns, nginx
//! that compresses everything else, nginx that compresses streams too, and two of them in a row.

use std::net::SocketAddr;

use reqwest::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING};

use super::nginx::Nginx;
use super::node_proxy::{KINDS, NodeProxy};
use super::programs;
use crate::http::{Api, Fixture};
use crate::support::db::TestDb;
use crate::support::wait_for;

/// Reads through the proxy at `url` with npm's EventSource, whose `fetch` accepts gzip and decompresses. Each event is read before the next one
/// happens, so that later data cannot push a delayed event out.
async fn undelayed(api: &Api, fixture: &mut Fixture, sent: &mut u32, name: &'static str, url: &str) {
    let document = accepting_gzip(&format!("{url}/api-docs/openapi.json")).await;
    assert_eq!(document.headers()[CONTENT_ENCODING], "gzip", "{name} compresses");
    let events = format!("{url}/api/v1/deploy/{}/events", fixture.id());
    let reader = programs::npm(name, &events);
    for _ in 0..4 {
        wait_for(name, async || reader.count() == *sent as usize).await;
        *sent += 1;
        fixture.build_lines(*sent, *sent).await;
        api.hub.notify(fixture.id());
    }
    wait_for(name, async || reader.count() == *sent as usize).await;
    assert!(reader.end().is_none(), "{name}");
}

async fn accepting_gzip(url: &str) -> reqwest::Response {
    reqwest::Client::new().get(url).header(ACCEPT_ENCODING, "gzip").send().await.unwrap()
}

async fn nginx_compressing(panda: SocketAddr, types: &str) -> Nginx {
    let settings = format!("gzip on; gzip_proxied any; gzip_http_version 1.0; gzip_min_length 1; gzip_types {types};");
    Nginx::before(panda, &settings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression__events_undelayed_through_npm_proxies() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    let mut sent = 1;
    for kind in KINDS {
        let proxy = NodeProxy::before(api.address, kind).await;
        undelayed(&api, &mut fixture, &mut sent, kind, &proxy.url).await;
        let stream = accepting_gzip(&format!("{}/api/v1/deploy/{}/events", proxy.url, fixture.id())).await;
        assert_eq!(stream.headers().get(CONTENT_ENCODING), None, "{kind}");
        assert_eq!(stream.headers()[CACHE_CONTROL], "no-cache, no-transform", "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression__events_undelayed_through_nginx() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    let mut sent = 1;
    let (usual, all) = tokio::join!(
        nginx_compressing(api.address, "application/json"),
        nginx_compressing(api.address, "application/json text/event-stream"),
    );
    undelayed(&api, &mut fixture, &mut sent, "nginx that compresses JSON", &usual.url).await;
    // It ignores `no-transform`, but flushes what it compresses, because `X-Accel-Buffering: no` turns its buffering off.
    undelayed(&api, &mut fixture, &mut sent, "nginx that compresses streams too", &all.url).await;
    let behind = NodeProxy::before(usual.address, KINDS[0]).await;
    undelayed(&api, &mut fixture, &mut sent, "Express behind nginx", &behind.url).await;
}
