//! The shares of one caller: its waiting requests, streams and probes delay no other caller.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use panda::db::{Class, Db, DbOptions};
use panda::domain::principal::Role;
use reqwest::Method;
use secrecy::SecretString;
use sqlx::{Executor, PgConnection};
use tokio::task::JoinSet;

use super::auth::{Token, serve};
use super::{Answer, Api, Fixture};
use crate::support::db::{TestDb, keyring};
use crate::support::wait_for;

const LIST: &str = "/api/v1/deploy";

/// Access with four connections for requests, of which [`Api`] allows each caller two.
fn with_four_for_requests(db: &TestDb) -> Db {
    Db::new(&DbOptions {
        url: SecretString::from(db.url().to_owned()).into(),
        access: panda::db::connect::Access::default(),
        max_connections: 16,
        acquire_timeout: Duration::from_secs(10),
        keyring: keyring(),
    })
    .unwrap()
}

/// A transaction that delays every list of deployments.
async fn locked_deployments(db: &TestDb) -> PgConnection {
    let mut locker = db.psql().await;
    locker.execute("BEGIN; LOCK TABLE deployments IN ACCESS EXCLUSIVE MODE").await.unwrap();
    locker
}

/// Statements that wait for a lock. Asked outside of the locker's transaction, in which the answer would never change.
async fn waiting_statements(psql: &mut PgConnection) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    sqlx::query_scalar(sql).fetch_one(psql).await.unwrap()
}

/// Requests of one caller that wait for the locked table, as many as the caller may have.
async fn hold_share(api: &Api, token: &Token, psql: &mut PgConnection) -> JoinSet<reqwest::Result<reqwest::Response>> {
    let mut held = JoinSet::new();
    for _ in 0..2 {
        held.spawn(token.request(api, Method::GET, LIST).send());
    }
    wait_for("both requests have a connection", async || {
        let metrics = api.get("/metrics").await.text;
        // Streams read the locked table too, on connections of another class.
        metrics.contains("panda_database_connections{class=\"api\",state=\"used\"} 2")
            && waiting_statements(psql).await >= 2
    })
    .await;
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_share__noisy_caller_refused_and_other_not_delayed() {
    let db = TestDb::new().await;
    let four = with_four_for_requests(&db);
    assert_eq!(Class::Api.share(16), 4);
    let api = serve(&four).await;
    let (noisy, other) = (Token::of(&db.db, Role::Viewer).await, Token::of(&db.db, Role::Viewer).await);
    let (mut locker, mut psql) = (locked_deployments(&db).await, db.psql().await);
    let mut held = hold_share(&api, &noisy, &mut psql).await;

    let current = format!("{LIST}/current");
    let unknown = format!("{LIST}/dep_unknown/result");
    let paths =
        [LIST, "/api/v1/connections", &current, &unknown, "/api/v1/schedules", LIST, "/api/v1/connections", LIST];
    let refusals = join_all(paths.map(|path| {
        let (api, noisy) = (&api, &noisy);
        async move {
            let begun = Instant::now();
            (noisy.get(api, path).await, begun.elapsed())
        }
    }));
    let others = async {
        for _ in 0..8 {
            assert_eq!(other.get(&api, "/api/v1/connections").await.status, 200);
        }
        Instant::now()
    };
    let begun = Instant::now();
    let (refusals, others) = tokio::join!(refusals, others);
    for (refused, took) in refusals {
        let problem = refused.problem(503, "REQUESTS_BUSY");
        assert!(problem["detail"].as_str().unwrap().contains("all 2 database connections"), "{problem}");
        assert!(!refused.header("retry-after").is_empty());
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    assert!(others - begun < Duration::from_secs(2), "the other caller waits for none: {:?}", others - begun);
    let command = noisy.post(&api, &format!("{LIST}/dep_unknown/ticket"), &serde_json::json!({})).await;
    command.problem(503, "REQUESTS_BUSY");
    let metrics = api.get("/metrics").await.text;
    assert!(metrics.contains("panda_database_caller_rejected_total{class=\"api\"} 9"), "{metrics}");
    assert!(metrics.contains("panda_database_rejected_total{class=\"api\"} 0"), "{metrics}");

    locker.execute("ROLLBACK").await.unwrap();
    while let Some(answer) = held.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
    assert_eq!(noisy.get(&api, LIST).await.status, 200, "the share is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_share__stream_opens_beside_waiting_requests() {
    let db = TestDb::new().await;
    let api = serve(&with_four_for_requests(&db)).await;
    // Only a caller with a scope needs a connection before its stream begins.
    let token = Token::scoped(&db.db, Role::Viewer, &["acme/shop"]).await;
    let fixture = Fixture::begin_of(&db.db, "acme", "shop").await;
    let (mut locker, mut psql) = (locked_deployments(&db).await, db.psql().await);
    let _held = hold_share(&api, &token, &mut psql).await;
    // The stream begins, though its caller may not use another connection.
    let mut stream = token.follow(&api, &format!("{LIST}/{}/events", fixture.id())).await;
    assert_eq!(stream.status, 200);
    let comment = stream.comment().await;
    assert!(comment.contains("your other requests use all database connections"), "{comment}");
    locker.execute("ROLLBACK").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_share__invalid_tokens_use_one_connection() {
    let db = TestDb::new().await;
    let api = serve(&with_four_for_requests(&db)).await;
    let token = Token::of(&db.db, Role::Viewer).await;
    assert_eq!(token.get(&api, LIST).await.status, 200);
    let (mut locker, mut psql) = (db.psql().await, db.psql().await);
    locker.execute("BEGIN; LOCK TABLE api_tokens IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut guesses = JoinSet::new();
    for n in 0..12 {
        let guess = format!("panda_{n:064x}");
        guesses.spawn(api.request(Method::GET, LIST).bearer_auth(guess).send());
    }
    wait_for("a look-up waits", async || waiting_statements(&mut psql).await >= 1).await;
    // No look-up: not the form of a token.
    api.request(Method::GET, LIST)
        .bearer_auth("guess")
        .send()
        .await
        .map(|answer| assert_eq!(answer.status(), 401))
        .unwrap();
    assert_eq!(token.get(&api, LIST).await.status, 200, "requests of signed-in callers have connections");
    // The periodic check of cached credentials has one as well.
    assert!(waiting_statements(&mut psql).await <= 2);
    locker.execute("ROLLBACK").await.unwrap();
    while let Some(answer) = guesses.join_next().await {
        Answer::of(answer.unwrap().unwrap()).await.problem(401, "NOT_SIGNED_IN");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readyz__one_check_for_concurrent_and_abandoned_probes() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let (mut locker, mut psql) = (db.psql().await, db.psql().await);
    locker.execute("BEGIN; LOCK TABLE _sqlx_migrations IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut probes = JoinSet::new();
    for _ in 0..16 {
        probes.spawn(api.request(Method::GET, "/readyz").send());
    }
    wait_for("the check waits", async || waiting_statements(&mut psql).await == 1).await;
    // Abandoned probes do not end the check that others wait for.
    for _ in 0..8 {
        let abandoned = api.request(Method::GET, "/readyz").timeout(Duration::from_millis(20)).send().await;
        assert!(abandoned.is_err());
    }
    assert_eq!(waiting_statements(&mut psql).await, 1);
    locker.execute("ROLLBACK").await.unwrap();
    while let Some(answer) = probes.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
}
