//! The feed: one stream of the events of all deployments.

use std::time::Duration;

use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use pretty_assertions::assert_eq;
use reqwest::Method;
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::{Instant, timeout};

use crate::http::{Answer, Api, ExternalServices, Fixture, Reader};
use crate::support::db::{TestDb, through};
use crate::support::postgres_proxy::PostgresProxy;
use crate::support::sse_reader::{Message, texts};
use crate::support::wait_for;

async fn follow_all(api: &Api, query: &str) -> Reader {
    let mut reader = Reader::open(api.request(Method::GET, &format!("/api/v1/events{query}"))).await;
    assert_eq!(reader.status, 200);
    reader.comments.clear();
    reader
}

async fn resume(api: &Api, last: &str) -> Reader {
    Reader::open(api.request(Method::GET, "/api/v1/events").header("last-event-id", last)).await
}

fn deployment(message: &Message) -> String {
    message.json()["deploymentId"].as_str().unwrap().to_owned()
}

/// The table's events in feed order, as feed ids.
async fn table(db: &TestDb) -> Vec<String> {
    let sql = "SELECT place || '.' || id FROM deployment_events ORDER BY place, deployment_id COLLATE \"C\", seq";
    sqlx::query_scalar(sql).fetch_all(&mut db.psql().await).await.unwrap()
}

fn ids(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.id.clone()).collect()
}

/// Waits until no transaction in the whole cluster, another test's included, is older than the newest event: "now" is behind it then.
async fn settled(db: &TestDb) {
    wait_for("no older transaction runs", async || db.db.feed_state().await.unwrap().held_back.is_none()).await;
}

/// Writes an event in a transaction that stays open, as another program could.
async fn tell_within(tx: &mut PgConnection, deployment_id: &str) {
    let sql = format!(
        "WITH counted AS (UPDATE deployments SET next_event_seq = next_event_seq + 1 WHERE id = '{deployment_id}'
                          RETURNING next_event_seq - 1 AS seq)
         INSERT INTO deployment_events (deployment_id, seq, id, attempt, key, code, type, message, params, status)
         SELECT '{deployment_id}', seq, gen_random_uuid(), 1, 'raw', 'completed', 'success', 'm', '{{}}', 'COMPLETED' FROM counted"
    );
    tx.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
}

#[tokio::test]
async fn feed__all_deployments_in_one_stream() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let (mut one, mut two) = (Fixture::begin(&db.db).await, Fixture::begin_of(&db.db, "acme", "blog").await);
    one.build_lines(1, 3).await;
    settled(&db).await;
    let mut reader = follow_all(&api, "").await;
    let mut english = follow_all(&api, "?lang=en").await;
    one.build_lines(4, 4).await;
    two.build_lines(1, 1).await;
    one.fail().await;
    api.hub.notify(one.id());
    let received = reader.take(3).await;
    assert_eq!(received.iter().map(deployment).collect::<Vec<_>>(), [one.id(), two.id(), one.id()]);
    let own = api.follow(one.id(), "").await.take(5).await;
    for (all, own) in [(&received[0], &own[3]), (&received[2], &own[4])] {
        assert_eq!(all.event, own.event);
        assert_eq!(all.id.split_once('.').unwrap().1, own.id, "the event's own id is in it");
        let added = format!("{},\"deploymentId\":\"{}\"}}", own.data.strip_suffix('}').unwrap(), one.id());
        assert_eq!(all.data, added, "and nothing else is another");
    }
    let translated = english.take(3).await;
    assert_eq!(ids(&translated), ids(&received));
    assert_eq!(texts(&translated)[0], "[Stage 1] Docker build in progress: line 4");
}

#[tokio::test]
async fn feed__filters_match_the_list() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let (mut shop, mut blog) = (Fixture::begin(&db.db).await, Fixture::begin_of(&db.db, "other", "blog").await);
    let mut all = follow_all(&api, "").await;
    let mut readers = Vec::new();
    for (query, expected) in [
        ("?owner=acme", &[0, 2, 4, 5][..]),
        ("?repo=blog", &[1, 3]),
        ("?branch=main&owner=other", &[1, 3]),
        ("?branch=next", &[]),
        ("?status=RUNNING", &[0, 1]),
        ("?status=FAILED,COMPLETED", &[3, 4, 5]),
        ("?status=DEPLOYMENT_READY&owner=acme", &[2]),
    ] {
        readers.push((query, expected, follow_all(&api, query).await));
    }
    shop.tell(vec![Event::new(EventCode::InfraStarted)]).await;
    blog.tell(vec![Event::new(EventCode::InfraStarted)]).await;
    shop.commit(panda::db::commit::Change {
        status: Some(panda::domain::Status::DeploymentReady),
        events: vec![Event::new(EventCode::Ready)],
        ..Default::default()
    })
    .await;
    blog.fail().await;
    shop.complete().await;
    let received = all.take(6).await;
    for (query, expected, reader) in &mut readers {
        let expected: Vec<Message> = expected.iter().map(|&n: &usize| received[n].clone()).collect();
        assert_eq!(reader.take(expected.len()).await, expected, "{query}");
        // Events from the table are included.
        let before = api.request(Method::GET, &format!("/api/v1/events{query}"));
        let mut again = Reader::open(before.header("last-event-id", &received[0].id)).await;
        let rest: Vec<Message> = expected.iter().filter(|message| **message != received[0]).cloned().collect();
        assert_eq!(again.take(rest.len()).await, rest, "{query}");
    }
}

#[tokio::test]
async fn feed__resumes_after_last_event_id() {
    let db = TestDb::new().await;
    let (api, other) = (Api::serve(&db.db).await, Api::serve(&db.db).await);
    let (mut one, mut two) = (Fixture::begin(&db.db).await, Fixture::begin(&db.db).await);
    let mut reader = follow_all(&api, "").await;
    // More than is kept in memory.
    for n in 0..7 {
        one.build_lines(n * 100 + 1, n * 100 + 100).await;
        two.build_lines(n * 100 + 1, n * 100 + 100).await;
    }
    let all = reader.take(1_400).await;
    assert_eq!(ids(&all), table(&db).await);
    for at in [0, 99, 100, 700, 1_398] {
        for api in [&api, &other] {
            assert_eq!(resume(api, &all[at].id).await.take(1_399 - at).await, all[at + 1..], "{at}");
        }
        let query = format!("?repo=shop&lastEventId={}", all[at].id);
        assert_eq!(follow_all(&other, &query).await.take(1_399 - at).await, all[at + 1..], "{at}");
    }
    let mut end = resume(&other, &all[1_399].id).await;
    one.build_lines(9_000, 9_000).await;
    assert_eq!(texts(&end.take(1).await), ["[Stage 1] Docker 빌드 진행 중: line 9000"]);
    // The second part of the id is the event's id in the deployment's own stream.
    let last_of_one = all.iter().rfind(|message| deployment(message) == one.id()).unwrap();
    let mut own = api.follow(one.id(), &format!("?lastEventId={}", last_of_one.id)).await;
    assert_eq!(texts(&own.take(1).await), ["[Stage 1] Docker 빌드 진행 중: line 9000"]);
}

#[tokio::test]
async fn feed__late_commit_not_missed() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let (slow, mut quick) = (Fixture::begin(&db.db).await, Fixture::begin(&db.db).await);
    let mut reader = follow_all(&api, "").await;
    let mut psql = db.psql().await;
    let mut tx = psql.begin().await.unwrap();
    tell_within(&mut tx, slow.id()).await;
    quick.build_lines(1, 1).await;
    wait_for("the wait is shown", async || {
        let text = api.get("/metrics").await.text;
        let line = text.lines().find(|line| line.starts_with("panda_events_held_back_seconds ")).unwrap().to_owned();
        !line.ends_with(" 0.0")
    })
    .await;
    assert!(timeout(Duration::from_millis(1_500), reader.next()).await.is_err(), "it would be emitted out of order");
    tx.commit().await.unwrap();
    let received = reader.take(2).await;
    assert_eq!(received.iter().map(deployment).collect::<Vec<_>>(), [slow.id(), quick.id()]);
    assert_eq!(ids(&received), table(&db).await);
    assert_eq!(resume(&api, &received[0].id).await.take(1).await, received[1..]);
}

#[tokio::test]
async fn feed__long_read_blocks_nothing() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let mut reader = follow_all(&api, "").await;
    let mut psql = db.psql().await;
    let mut tx = psql.begin().await.unwrap();
    tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    tx.execute("SELECT * FROM deployments").await.unwrap();
    fixture.build_lines(1, 1).await;
    reader.take(1).await;
}

#[tokio::test]
async fn feed__unknown_id_starts_now_with_comment() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 2).await;
    let own = api.follow(fixture.id(), "").await.take(1).await.remove(0).id;
    settled(&db).await;
    let unknown_id = format!("0.{}", uuid::Uuid::new_v4());
    for id in ["7", "undefined", "%00", "7.7", &own, &unknown_id, &"9".repeat(5_000)] {
        let mut reader = resume(&api, id).await;
        assert_eq!(reader.status, 200);
        assert!(reader.comment().await.starts_with("unknown last event id"), "{id}");
    }
    let mut reader = resume(&api, &unknown_id).await;
    fixture.build_lines(3, 3).await;
    assert_eq!(texts(&reader.take(1).await), ["[Stage 1] Docker 빌드 진행 중: line 3"]);
}

/// Removes the newest event, as retention does (`noted`) or as a failover does.
async fn remove_newest(db: &TestDb, noted: bool) {
    let mut psql = db.psql().await;
    let sql = "DELETE FROM deployment_events WHERE (place, id) = (SELECT place, id FROM deployment_events ORDER BY place DESC, seq DESC LIMIT 1)
               RETURNING place";
    let place: i64 = sqlx::query_scalar(sql).fetch_one(&mut psql).await.unwrap();
    if noted {
        let sql = "INSERT INTO maintenance_progress (kind, removed_place) VALUES ('events', $1)";
        sqlx::query(sql).bind(place).execute(&mut psql).await.unwrap();
    }
}

#[tokio::test]
async fn feed__event_removed_by_retention_is_not_lost() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let (mut one, mut two) = (Fixture::begin(&db.db).await, Fixture::begin_of(&db.db, "acme", "blog").await);
    settled(&db).await;
    let mut reader = follow_all(&api, "").await;
    one.build_lines(1, 1).await;
    reader.take(1).await;
    remove_newest(&db, true).await;
    two.build_lines(1, 1).await;
    assert_eq!(ids(&reader.take(1).await), table(&db).await);
}

#[tokio::test]
async fn feed__lost_event_ends_stream_and_reader_recovers() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let (mut one, mut two) = (Fixture::begin(&db.db).await, Fixture::begin_of(&db.db, "acme", "blog").await);
    one.build_lines(1, 1).await;
    settled(&db).await;
    let mut reader = follow_all(&api, "").await;
    one.build_lines(2, 2).await;
    let lost = reader.take(1).await.remove(0).id;
    remove_newest(&db, false).await;
    two.build_lines(1, 1).await;
    assert_eq!(reader.rest().await, []);
    // The process that sent the event knows what preceded it; another process uses the time within the id.
    let stored = table(&db).await;
    assert_eq!(ids(&resume(&api, &lost).await.take(1).await), stored[1..]);
    let other = Api::serve(&db.db).await;
    assert_eq!(ids(&resume(&other, &lost).await.take(2).await), stored);
}

#[tokio::test]
async fn feed__invalid_filter_refused() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    for (query, field) in [
        ("status=running", "status"),
        ("owner=a%2Fb", "owner"),
        ("repo=", "repo"),
        ("branch=%00", "branch"),
        ("onwer=acme", "onwer"),
        ("limit=3", "limit"),
    ] {
        let answer = api.get(&format!("/api/v1/events?{query}")).await;
        assert_eq!(answer.refused_field("INVALID_FIELD"), field);
    }
    let request = api.request(Method::GET, "/api/v1/events").header("accept", "application/json");
    Answer::of(request.send().await.unwrap()).await.problem(406, "NOT_ACCEPTABLE");
    let mut reader = Reader::open(api.request(Method::GET, "/api/v1/events?lang=tlh")).await;
    assert!(reader.comment().await.starts_with("unknown lang"));
}

#[tokio::test]
async fn feed__stays_open_during_database_outage() {
    let db = TestDb::new().await;
    let proxy = PostgresProxy::before(&db, true).await;
    let api = Api::serve(&through(&proxy, &db)).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let mut early = follow_all(&api, "").await;
    fixture.build_lines(1, 2).await;
    let received = early.take(2).await;
    proxy.set(false);
    let away = Api::serve(&through(&proxy, &db)).await;
    let mut resumed = resume(&away, &received[0].id).await;
    assert_eq!(resumed.status, 200, "503 would end a browser's EventSource for good");
    assert!(resumed.comment().await.contains("database is unavailable"));
    fixture.build_lines(3, 3).await;
    proxy.set(true);
    let rest = resumed.take(2).await;
    assert_eq!(rest[0], received[1]);
    assert_eq!(early.take(1).await, rest[1..]);
}

#[tokio::test]
async fn feed__order_kept_after_restore_into_other_cluster() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let mut reader = follow_all(&api, "").await;
    fixture.build_lines(1, 3).await;
    reader.take(3).await;
    // As left by a dump from a cluster that has been running for longer.
    let mut psql = db.psql().await;
    psql.execute("UPDATE deployment_events SET place = place + 4000000000").await.unwrap();
    assert_eq!(reader.rest().await, [], "positions have changed: it ends, and its reader reconnects");
    let restored = table(&db).await;
    let mut resumed = resume(&api, &restored[0]).await;
    fixture.build_lines(4, 4).await;
    let received = resumed.take(3).await;
    assert_eq!(ids(&received)[..2], restored[1..]);
    assert_eq!(ids(&received), table(&db).await[1..], "new events follow the restored ones");
    assert!(!db.db.repair_event_order().await.unwrap(), "the repair ran once");
}

#[tokio::test]
async fn feed__restored_order_repaired_at_start_and_by_migrate() {
    let db = TestDb::new().await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    let mut psql = db.psql().await;
    psql.execute("UPDATE deployment_events SET place = place + 4000000000").await.unwrap();
    assert!(db.db.repair_event_order().await.unwrap());
    fixture.build_lines(2, 2).await;
    let places: Vec<i64> =
        sqlx::query_scalar("SELECT place FROM deployment_events ORDER BY seq").fetch_all(&mut psql).await.unwrap();
    assert!(places[0] < places[1], "{places:?}");
    let state = db.db.feed_state().await.unwrap();
    assert!(!state.restored && state.newest == places[1]);
}

#[tokio::test]
async fn feed__releases_resources_and_ends_on_shutdown() {
    let db = TestDb::new().await;
    let mut api = Api::serve(&db.db).await;
    let mut readers = [follow_all(&api, "").await, follow_all(&api, "").await];
    api.shutdown.cancel();
    for reader in &mut readers {
        assert_eq!(reader.rest().await, []);
    }
    (&mut api.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn feed__queued_deployment_in_order() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let first = Fixture::begin(&db.db).await;
    let mut reader = follow_all(&api, "?status=RUNNING").await;
    let queued = Fixture::queue_behind(&db.db, &first).await;
    let received = reader.take(1).await;
    assert_eq!(deployment(&received[0]), queued);
    assert_eq!(ids(&received), table(&db).await);
}

#[tokio::test]
async fn feed__periodic_close_loses_nothing() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--stream-rotation-ms=1500"]).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    let (mut lifetimes, mut received, mut last) = (Vec::new(), Vec::new(), table(&db).await.remove(0));
    // An event may arrive late, because other tests' transactions hold the feed back.
    while received.len() < 5 || lifetimes.len() < 5 {
        let opened = Instant::now();
        let mut reader = resume(&api, &last).await;
        let n = u32::try_from(lifetimes.len()).unwrap() + 2;
        if n <= 6 {
            fixture.build_lines(n, n).await;
            api.hub.notify(fixture.id());
        }
        received.extend(reader.rest().await);
        lifetimes.push(opened.elapsed().as_secs_f64());
        last = received.last().map_or(last, |newest: &Message| newest.id.clone());
    }
    let expected: Vec<String> = (2..=6).map(|n| format!("[Stage 1] Docker 빌드 진행 중: line {n}")).collect();
    assert_eq!(texts(&received), expected);
    assert!(lifetimes.iter().all(|seconds| (1.1..3.5).contains(seconds)), "{lifetimes:?}");
    assert!(lifetimes.iter().any(|seconds| (seconds - lifetimes[0]).abs() > 0.01), "not all together: {lifetimes:?}");
}
