//! A failover to a standby that lacks the newest events, followed by new events at their positions: every reader ends with the rows of the table, as
//! stored.

use std::collections::HashSet;
use std::time::Duration;

use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use pretty_assertions::assert_eq;
use reqwest::Method;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::http::{Api, ExternalServices, Fixture, Reader};
use crate::support::db::through;
use crate::support::sse_reader::Message;
use crate::support::standby::Pair;
use crate::support::wait_for;

/// A reader's messages, and its number of reconnects with an id.
#[derive(Clone, Debug, Default)]
struct Seen {
    messages: Vec<(String, String)>,
    /// Number of events at its last connect.
    before: usize,
    /// The last answer's status.
    status: u16,
    ended: bool,
}

/// Reads as a browser does: reconnects with the last id until 204.
struct Browser {
    seen: watch::Receiver<Seen>,
    reading: JoinHandle<()>,
}

impl Browser {
    fn open(api: &Api, path: String) -> Self {
        let (seen, watched) = watch::channel(Seen::default());
        let (client, address) = (api.client.clone(), api.address);
        let reading = tokio::spawn(async move {
            let mut last = String::new();
            loop {
                let request = client.request(Method::GET, format!("http://{address}{path}"));
                let mut reader = Reader::open(request.header("last-event-id", &last)).await;
                seen.send_modify(|seen| (seen.before, seen.status) = (seen.messages.len(), reader.status));
                if reader.status != 200 {
                    seen.send_modify(|seen| seen.ended = true);
                    return;
                }
                while let Some(Message { id, data, .. }) = reader.next().await {
                    last.clone_from(&id);
                    seen.send_modify(|seen| seen.messages.push((id, data)));
                }
                // A browser waits for five seconds.
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        });
        Self { seen: watched, reading }
    }

    fn one(api: &Api, fixture: &Fixture) -> Self {
        Self::open(api, format!("/api/v1/deploy/{}/events", fixture.id()))
    }

    fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    async fn has(&self, count: usize) {
        wait_for("a reader has its events", async || self.seen().messages.len() >= count).await;
    }

    fn ids(&self) -> Vec<String> {
        self.seen().messages.into_iter().map(|(id, _)| id).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn stored(pair: &Pair, deployment: &str) -> Vec<String> {
    let sql = "SELECT id::text FROM deployment_events WHERE deployment_id = $1 ORDER BY seq";
    sqlx::query_scalar(sql).bind(deployment).fetch_all(&mut pair.psql().await).await.unwrap()
}

async fn replica(pair: &Pair) -> Api {
    Api::serve_with(&through(&pair.proxy, &pair.db), &ExternalServices::default(), &["--rate-per-client=0"]).await
}

/// Asserts that the whole history follows the last event that a reader had, and nothing else.
async fn is_replayed(pair: &Pair, what: &str, browser: &Browser, deployment: &str) {
    let all = stored(pair, deployment).await;
    wait_for(what, async || {
        let seen = browser.seen();
        let ids: Vec<&String> = seen.messages[seen.before..].iter().map(|(id, _)| id).collect();
        ids == all.iter().collect::<Vec<_>>()
    })
    .await;
}

/// Feed ids of all stored events but the first, and of those of the repository `fewer`.
async fn stored_positions(pair: &Pair) -> (Vec<String>, Vec<String>) {
    let sql =
        "SELECT e.place || '.' || e.id, d.repo FROM deployment_events e JOIN deployments d ON d.id = e.deployment_id
               ORDER BY e.place, e.deployment_id COLLATE \"C\", e.seq OFFSET 1";
    let table: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut pair.psql().await).await.unwrap();
    (
        table.iter().map(|(id, _)| id.clone()).collect(),
        table.iter().filter(|(_, repo)| repo == "fewer").map(|(id, _)| id.clone()).collect(),
    )
}

/// Asserts that every stored event arrives in the feed, and none twice.
async fn has_all_once(browser: &Browser, expected: &[String]) {
    let is_stored: HashSet<&String> = expected.iter().collect();
    let had = async || browser.ids().into_iter().filter(|id| is_stored.contains(id)).collect::<Vec<_>>();
    wait_for("all stored events arrive", async || had().await.len() >= expected.len()).await;
    assert_eq!(&had().await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_failover__lost_events_end_every_stream() {
    let pair = Pair::start().await;
    let db = through(&pair.proxy, &pair.db);
    let (api, other) = (replica(&pair).await, replica(&pair).await);
    let names = ["more", "same", "fewer", "none", "ended", "untouched"];
    let mut fixtures = Vec::new();
    for name in names {
        fixtures.push(Fixture::begin_of(&db, "acme", name).await);
    }
    for fixture in &mut fixtures {
        fixture.build_lines(1, 5).await;
    }
    let first: String = {
        let sql =
            "SELECT place || '.' || id FROM deployment_events ORDER BY place, deployment_id COLLATE \"C\", seq LIMIT 1";
        sqlx::query_scalar(sql).fetch_one(&mut pair.psql().await).await.unwrap()
    };
    let browsers: Vec<Browser> = fixtures.iter().map(|fixture| Browser::one(&api, fixture)).collect();
    let elsewhere: Vec<Browser> = fixtures.iter().map(|fixture| Browser::one(&other, fixture)).collect();
    let all = [
        Browser::open(&api, format!("/api/v1/events?lastEventId={first}")),
        Browser::open(&other, format!("/api/v1/events?lastEventId={first}")),
        Browser::open(&api, format!("/api/v1/events?repo=fewer&lastEventId={first}")),
    ];
    for browser in browsers.iter().chain(&elsewhere) {
        browser.has(5).await;
    }
    all[0].has(29).await;
    all[1].has(29).await;

    pair.cut_replication().await;
    // Events that the standby never receives.
    for (fixture, lines) in fixtures.iter_mut().zip([8, 8, 8, 8, 0, 0]) {
        if lines > 0 {
            fixture.build_lines(6, lines).await;
        }
    }
    fixtures[4].complete().await;
    let vanished = Fixture::begin_of(&db, "acme", "vanished").await;
    let gone = Browser::one(&api, &vanished);
    let lost = [8, 8, 8, 8, 7, 5];
    for (n, count) in lost.into_iter().enumerate() {
        browsers[n].has(count).await;
        elsewhere[n].has(count).await;
    }
    all[0].has(29 + 12 + 2).await;
    all[1].has(29 + 12 + 2).await;

    pair.fail_over().await;
    // New events take the positions of the lost ones, before any replica has noticed.
    for (n, lines) in [(0, 41), (1, 8), (2, 6), (4, 6), (5, 6)] {
        fixtures[n].read_again().await;
        fixtures[n].build_lines(6, lines).await;
    }
    for (n, name) in names.iter().enumerate().take(5) {
        is_replayed(&pair, name, &browsers[n], fixtures[n].id()).await;
        is_replayed(&pair, name, &elsewhere[n], fixtures[n].id()).await;
    }
    // It lost no event: its streams stay open, and no event is repeated.
    let untouched = stored(&pair, fixtures[5].id()).await;
    for browser in [&browsers[5], &elsewhere[5]] {
        browser.has(6).await;
        assert_eq!(browser.ids(), untouched);
    }
    wait_for("the deployment that was never there is not found", async || gone.seen().ended).await;
    assert_eq!(gone.seen().status, 404);

    let (every, fewer) = stored_positions(&pair).await;
    for (browser, expected) in [(&all[0], &every), (&all[1], &every), (&all[2], &fewer)] {
        has_all_once(browser, expected).await;
    }

    // A reader that was disconnected meanwhile gets no 204 just because a number is equal.
    let id_of_lost_end = browsers[4].ids()[6].clone();
    let request = api.request(Method::GET, &format!("/api/v1/deploy/{}/events", fixtures[4].id()));
    let mut back = Reader::open(request.header("last-event-id", id_of_lost_end)).await;
    assert_eq!(back.status, 200);
    let all_of_it = stored(&pair, fixtures[4].id()).await;
    let replayed: Vec<String> = back.take(all_of_it.len()).await.into_iter().map(|message| message.id).collect();
    assert_eq!(replayed, all_of_it);

    drop((browsers, elsewhere, all, gone, back, api, other, fixtures, vanished, db));
    pair.stop().await;
}

#[tokio::test]
async fn stream_failover__no_loss_ends_no_stream() {
    let pair = Pair::start().await;
    let db = through(&pair.proxy, &pair.db);
    let api = replica(&pair).await;
    let mut fixture = Fixture::begin(&db).await;
    fixture.build_lines(1, 3).await;
    let (one, all) = (Browser::one(&api, &fixture), Browser::open(&api, "/api/v1/events".to_owned()));
    one.has(3).await;
    // "Now" begins with the first answer.
    wait_for("the stream of all is open", async || all.seen().status == 200).await;
    fixture.build_lines(4, 4).await;
    all.has(1).await;
    pair.cut_replication().await;
    // Lost transactions without events: their ids are used again.
    for _ in 0..50 {
        sqlx::query("UPDATE replicas SET name = name").execute(&mut pair.db.psql().await).await.unwrap();
    }
    wait_for("the feed has seen them", async || db.feed_state().await.is_ok_and(|state| state.held_back.is_none()))
        .await;
    pair.fail_over().await;
    fixture.tell(vec![Event::new(EventCode::InfraStarted)]).await;
    one.has(5).await;
    all.has(2).await;
    assert_eq!(one.ids(), stored(&pair, fixture.id()).await);
    assert_eq!((one.seen().before, all.seen().before), (0, 0), "both are on their first connection");
    drop((one, all, api, fixture, db));
    pair.stop().await;
}
