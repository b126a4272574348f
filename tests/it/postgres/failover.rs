use std::time::{Duration, Instant};

use panda::db::Db;
use panda::db::notify::WORK_CHANNEL;
use sqlx::Connection as _;

use super::{db, trouble, write};
use crate::support::postgres_proxy::PostgresProxy;
use crate::support::postgres_servers::{PASSWORD, Server};
use crate::support::wait_for;

/// Longest time from the promotion to the first write. The promotion itself is the standby's, and takes as long as the machine lets it.
const LIMIT: Duration = Duration::from_secs(5);

/// A primary with a migrated database, and a standby of it.
async fn pair() -> Option<(Server, Server)> {
    let mut primary = Server::of(16, &[]).await?;
    primary.sql("CREATE DATABASE panda").await;
    db(&primary.url("panda")).migrate().await.unwrap();
    primary.stop(true);
    let mut standby = primary.copied();
    primary.start(&[]).await;
    standby.follow(&primary);
    standby.start(&[]).await;
    wait_for("the standby follows", async || {
        primary.ask("postgres", "SELECT count(*)::text FROM pg_stat_replication WHERE state = 'streaming'").await == "1"
    })
    .await;
    Some((primary, standby))
}

fn of_both(first: u16, second: u16) -> Db {
    db(&format!(
        "postgres://postgres:{PASSWORD}@127.0.0.1:{first},127.0.0.1:{second}/panda?target_session_attrs=read-write"
    ))
}

async fn written_after(db: &Db, begun: Instant) -> Duration {
    wait_for("writes succeed again", async || write(db).await.is_ok()).await;
    begun.elapsed()
}

#[tokio::test]
async fn failover__writes_resume_on_promoted_server() {
    let Some((mut primary, standby)) = pair().await else { return };
    let db = of_both(primary.port, standby.port);
    write(&db).await.unwrap();
    let mut listener = db.listen(WORK_CHANNEL).await.unwrap();
    let begun = Instant::now();
    primary.stop(false);
    standby.sql("SELECT pg_promote()").await;
    let promoted = begun.elapsed();
    let took = written_after(&db, begun).await;
    eprintln!("failover, primary killed: promoted after {promoted:?}, written after {took:?}");
    assert!(took < promoted + LIMIT, "{took:?}");
    // The listener's connection ended with the server; the next one leads to the other server.
    while listener.try_recv().await.is_ok_and(|received| received.is_some()) {}
    let mut listener = db.listen(WORK_CHANNEL).await.unwrap();
    db.notify_work("dep_1").await.unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "dep_1");
}

#[tokio::test]
async fn failover__silent_primary_abandoned() {
    let Some((primary, standby)) = pair().await else { return };
    let proxy = PostgresProxy::to(&format!("127.0.0.1:{}", primary.port)).await;
    let db = of_both(proxy.address().port(), standby.port);
    write(&db).await.unwrap();
    let begun = Instant::now();
    // Open connections stay open and silent; new connections receive no answer either.
    proxy.mute();
    let muted = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.lead_to(muted.local_addr().unwrap().to_string());
    standby.sql("SELECT pg_promote()").await;
    // The heartbeat detects it, and connections opened before are not used again.
    let took = loop {
        match tokio::time::timeout(Duration::from_secs(1), write(&db)).await {
            Ok(Ok(())) => break begun.elapsed(),
            _ => db.note_heartbeat(Some(db.no_answer_cause())),
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "never");
    };
    eprintln!("failover, primary silent: written after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn failover__standby_never_written() {
    let Some((mut primary, standby)) = pair().await else { return };
    // The standby comes first in the address.
    let db = of_both(standby.port, primary.port);
    for _ in 0..5 {
        write(&db).await.unwrap();
    }
    primary.stop(false);
    wait_for("readiness reports a read-only database", async || {
        let Err(error) = write(&db).await else { return false };
        error.message().to_string().contains("read-only")
    })
    .await;
    standby.sql("SELECT pg_promote()").await;
    wait_for("writes succeed again", async || write(&db).await.is_ok()).await;
}

#[tokio::test]
async fn standby__alone_reports_read_only() {
    let Some((_primary, standby)) = pair().await else { return };
    let url = standby.url("panda");
    let alone = db(&url);
    // A standby refuses LISTEN, which the self-test detects.
    alone.schema().await.unwrap();
    let error = write(&alone).await.unwrap_err();
    assert_eq!(error.message().to_string(), "the database is read-only");
    let unreachable = of_both(1, 2);
    assert_eq!(trouble(&unreachable).await, "nothing listens at the database's address (connection refused)");
    sqlx::PgConnection::connect(&url).await.unwrap();
}

#[tokio::test]
async fn failover__dns_change_drops_old_connections() {
    let Some((primary, mut standby)) = pair().await else { return };
    let mut primary = primary;
    // As with a name that resolves elsewhere after a failover, when the old primary returns as a standby.
    let proxy = PostgresProxy::to(&format!("127.0.0.1:{}", primary.port)).await;
    let db = db(&format!("postgres://postgres:{PASSWORD}@{}/panda", proxy.address()));
    write(&db).await.unwrap();
    let begun = Instant::now();
    primary.stop(false);
    standby.sql("SELECT pg_promote()").await;
    proxy.lead_to(format!("127.0.0.1:{}", standby.port));
    let promoted = begun.elapsed();
    let took = written_after(&db, begun).await;
    eprintln!("failover, by name: promoted after {promoted:?}, written after {took:?}");
    assert!(took < promoted + LIMIT, "{took:?}");
    standby.stop(true);
}
