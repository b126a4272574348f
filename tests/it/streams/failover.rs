//! A failover to a standby that lacks the newest events, and new events in their places: every reader ends with the rows of the table, as they are stored.

use std::collections::HashSet;
use std::time::Duration;

use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use pretty_assertions::assert_eq;
use reqwest::Method;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::http::reader::Message;
use crate::http::{Api, Outside, Reader, Story};
use crate::support::standby::Pair;
use crate::support::wait_for;

/// What a reader has seen: messages, and how often it came back with an id.
#[derive(Clone, Debug, Default)]
struct Seen {
    messages: Vec<(String, String)>,
    /// What had come when it last connected.
    before: usize,
    /// The last answer's status.
    status: u16,
    ended: bool,
}

/// Reads as a browser does: it comes back with the last id, until there is nothing more.
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

    fn one(api: &Api, story: &Story) -> Self {
        Self::open(api, format!("/api/v1/deploy/{}/events", story.id()))
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
    Api::serve_with(&pair.gate.db(&pair.db), &Outside::default(), &["--rate-per-client=0"]).await
}

/// The whole history comes after the last event that a reader had, and nothing but it.
async fn is_replayed(pair: &Pair, what: &str, browser: &Browser, deployment: &str) {
    let all = stored(pair, deployment).await;
    wait_for(what, async || {
        let seen = browser.seen();
        let ids: Vec<&String> = seen.messages[seen.before..].iter().map(|(id, _)| id).collect();
        ids == all.iter().collect::<Vec<_>>()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_that_loses_events_is_seen_by_every_reader() {
    let pair = Pair::start().await;
    let db = pair.gate.db(&pair.db);
    let (api, other) = (replica(&pair).await, replica(&pair).await);
    let names = ["more", "same", "fewer", "none", "ended", "untouched"];
    let mut stories = Vec::new();
    for name in names {
        stories.push(Story::begin_of(&db, "acme", name).await);
    }
    for story in &mut stories {
        story.build_lines(1, 5).await;
    }
    let first: String = {
        let sql =
            "SELECT place || '.' || id FROM deployment_events ORDER BY place, deployment_id COLLATE \"C\", seq LIMIT 1";
        sqlx::query_scalar(sql).fetch_one(&mut pair.psql().await).await.unwrap()
    };
    let browsers: Vec<Browser> = stories.iter().map(|story| Browser::one(&api, story)).collect();
    let elsewhere: Vec<Browser> = stories.iter().map(|story| Browser::one(&other, story)).collect();
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
    // What the standby never hears of.
    for (story, lines) in stories.iter_mut().zip([8, 8, 8, 8, 0, 0]) {
        if lines > 0 {
            story.build_lines(6, lines).await;
        }
    }
    stories[4].complete().await;
    let vanished = Story::begin_of(&db, "acme", "vanished").await;
    let gone = Browser::one(&api, &vanished);
    let lost = [8, 8, 8, 8, 7, 5];
    for (n, count) in lost.into_iter().enumerate() {
        browsers[n].has(count).await;
        elsewhere[n].has(count).await;
    }
    all[0].has(29 + 12 + 2).await;
    all[1].has(29 + 12 + 2).await;

    pair.fail_over().await;
    // New events take the places of those that were lost, before any replica has looked.
    for (n, lines) in [(0, 41), (1, 8), (2, 6), (4, 6), (5, 6)] {
        stories[n].read_again().await;
        stories[n].build_lines(6, lines).await;
    }
    for (n, name) in names.iter().enumerate().take(5) {
        is_replayed(&pair, name, &browsers[n], stories[n].id()).await;
        is_replayed(&pair, name, &elsewhere[n], stories[n].id()).await;
    }
    // No event of it was lost: its streams stay open, and nothing comes twice.
    let untouched = stored(&pair, stories[5].id()).await;
    for browser in [&browsers[5], &elsewhere[5]] {
        browser.has(6).await;
        assert_eq!(browser.ids(), untouched);
    }
    wait_for("the deployment that was never there is not found", async || gone.seen().ended).await;
    assert_eq!(gone.seen().status, 404);

    // In the stream of all nothing comes twice, and all that is stored comes.
    let sql =
        "SELECT e.place || '.' || e.id, d.repo FROM deployment_events e JOIN deployments d ON d.id = e.deployment_id
               ORDER BY e.place, e.deployment_id COLLATE \"C\", e.seq OFFSET 1";
    let table: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut pair.psql().await).await.unwrap();
    let (every, fewer): (Vec<_>, Vec<_>) = (
        table.iter().map(|(id, _)| id.clone()).collect(),
        table.iter().filter(|(_, repo)| repo == "fewer").map(|(id, _)| id.clone()).collect(),
    );
    for (browser, expected) in [(&all[0], &every), (&all[1], &every), (&all[2], &fewer)] {
        let is_stored: HashSet<&String> = expected.iter().collect();
        let had = async || browser.ids().into_iter().filter(|id| is_stored.contains(id)).collect::<Vec<_>>();
        wait_for("all that is stored", async || had().await.len() >= expected.len()).await;
        assert_eq!(&had().await, expected);
    }

    // A reader that was away meanwhile gets no 204 because a number is the same.
    let id_of_lost_end = browsers[4].ids()[6].clone();
    let request = api.request(Method::GET, &format!("/api/v1/deploy/{}/events", stories[4].id()));
    let mut back = Reader::open(request.header("last-event-id", id_of_lost_end)).await;
    assert_eq!(back.status, 200);
    let all_of_it = stored(&pair, stories[4].id()).await;
    let replayed: Vec<String> = back.take(all_of_it.len()).await.into_iter().map(|message| message.id).collect();
    assert_eq!(replayed, all_of_it);

    drop((browsers, elsewhere, all, gone, back, api, other, stories, vanished, db));
    pair.stop().await;
}

#[tokio::test]
async fn failover_without_a_loss_ends_no_stream() {
    let pair = Pair::start().await;
    let db = pair.gate.db(&pair.db);
    let api = replica(&pair).await;
    let mut story = Story::begin(&db).await;
    story.build_lines(1, 3).await;
    let (one, all) = (Browser::one(&api, &story), Browser::open(&api, "/api/v1/events".to_owned()));
    one.has(3).await;
    // "Now" begins with its first look.
    wait_for("the stream of all is open", async || all.seen().status == 200).await;
    story.build_lines(4, 4).await;
    all.has(1).await;
    pair.cut_replication().await;
    // Transactions that are lost, and no event: their ids are given again.
    for _ in 0..50 {
        sqlx::query("UPDATE replicas SET name = name").execute(&mut pair.db.psql().await).await.unwrap();
    }
    wait_for("the feed has seen them", async || db.feed_state().await.is_ok_and(|state| state.held_back.is_none()))
        .await;
    pair.fail_over().await;
    story.tell(vec![Event::new(EventCode::InfraStarted)]).await;
    one.has(5).await;
    all.has(2).await;
    assert_eq!(one.ids(), stored(&pair, story.id()).await);
    assert_eq!((one.seen().before, all.seen().before), (0, 0), "both are on their first connection");
    drop((one, all, api, story, db));
    pair.stop().await;
}
