use std::time::Duration;

use panda::db::connect::{Cause, Sessions};
use panda::db::notify::WORK_CHANNEL;
use panda::db::{Db, DbError};
use panda::domain::schema::Fit;

use super::{db, db_beside, write};
use crate::db::{claim, new_deployment, replica};
use crate::support::db::TestDb;
use crate::support::postgres_servers::{Bouncer, PASSWORD, Server};
use crate::support::process::Serve;
use crate::support::wait_for;

async fn server() -> Option<Server> {
    let server = Server::of(16, &[]).await?;
    server.sql(&format!("CREATE ROLE panda LOGIN PASSWORD '{PASSWORD}';\nCREATE DATABASE panda OWNER panda")).await;
    Some(server)
}

/// Uses it concurrently, so that a pooler shares its sessions.
async fn used(db: &Db) {
    let users = (0..20).map(|_| {
        let db = db.clone();
        async move {
            new_deployment(&db).await;
            let owner = replica(&db).await;
            claim(&db, owner, 1, 1).await;
        }
    });
    futures_util::future::join_all(users).await;
}

async fn works_in_session_mode(release: &str) {
    let Some(server) = server().await else { return };
    let Some(bouncer) = Bouncer::before(&server, release, "session").await else { return };
    let db = db(&bouncer.url("panda", "panda"));
    db.migrate().await.unwrap();
    assert_eq!(db.sessions().await.unwrap(), Sessions { kept: true, notified: true });
    used(&db).await;
    let mut listener = db.listen(WORK_CHANNEL).await.unwrap();
    db.notify_work("dep_1").await.unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "dep_1");
}

#[tokio::test]
async fn pgbouncer_1_18__session_mode_works() {
    works_in_session_mode("bookworm").await;
}

#[tokio::test]
async fn pgbouncer_1_24__session_mode_works() {
    works_in_session_mode("trixie").await;
}

#[tokio::test]
async fn pgbouncer_1_24__transaction_mode_with_direct_address_works() {
    let Some(server) = server().await else { return };
    let Some(bouncer) = Bouncer::before(&server, "trixie", "transaction").await else { return };
    let direct = server.url_as("panda", PASSWORD, "panda");
    let db = db_beside(&bouncer.url("panda", "panda"), &direct);
    db.migrate().await.unwrap();
    assert_eq!(db.sessions().await.unwrap(), Sessions { kept: false, notified: true });
    used(&db).await;
    let mut listener = db.listen(WORK_CHANNEL).await.unwrap();
    db.notify_work("dep_1").await.unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "dep_1");
    // Repeated, because a leaked lock would block the next run.
    for _ in 0..10 {
        let lock = db.try_lock("bus", Duration::from_secs(5)).await.unwrap().expect("the lock is free");
        assert!(db.try_lock("bus", Duration::from_secs(5)).await.unwrap().is_none());
        drop(lock);
        wait_for("the lock is released", async || {
            server.ask("panda", "SELECT (holder IS NULL)::text FROM leases WHERE name = 'bus'").await == "true"
        })
        .await;
    }
    assert_eq!(server.ask("panda", "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'").await, "0");
}

#[tokio::test]
async fn pgbouncer_1_24__transaction_mode_alone_cannot_notify_or_migrate() {
    let Some(server) = server().await else { return };
    let Some(bouncer) = Bouncer::before(&server, "trixie", "transaction").await else { return };
    let alone = db(&bouncer.url("panda", "panda"));
    let error = alone.migrate().await.unwrap_err();
    assert!(matches!(&error, DbError::Unusable(Cause::Migration)), "{error:?}");
    assert!(error.to_string().contains("PANDA_DATABASE_DIRECT_URL"), "{error}");
    db(&server.url_as("panda", PASSWORD, "panda")).migrate().await.unwrap();
    alone.migrate().await.unwrap();
    assert!(matches!(alone.schema().await.unwrap(), Fit::Fits { .. }));
    assert_eq!(alone.sessions().await.unwrap(), Sessions { kept: false, notified: false });
    assert!(matches!(alone.listen(WORK_CHANNEL).await, Err(DbError::NotificationsUnavailable)));
    used(&alone).await;
    // No session state is left behind that would disturb another client.
    assert_eq!(
        server.ask("panda", "SELECT count(*)::text FROM pg_stat_activity WHERE query ILIKE 'listen%'").await,
        "0"
    );
}

#[tokio::test]
async fn pgbouncer_1_18__transaction_mode_refused() {
    let Some(server) = server().await else { return };
    let Some(bouncer) = Bouncer::before(&server, "bookworm", "transaction").await else { return };
    let direct = server.url_as("panda", PASSWORD, "panda");
    for db in [db(&bouncer.url("panda", "panda")), db_beside(&bouncer.url("panda", "panda"), &direct)] {
        let error = db.schema().await.unwrap_err();
        assert!(matches!(&error, DbError::Unusable(Cause::Unprepared)), "{error:?}");
    }
    // As an operator sees it.
    let unused = TestDb::existing(server.url("postgres").parse().unwrap(), "panda".to_owned());
    let url = format!("--database-url={}", bouncer.url("panda", "panda"));
    let mut serve = Serve::on(&unused, &[&url, "--migrate", "--no-auth"], &[]);
    assert!(!serve.wait().await.success());
    assert!(serve.log().contains("PgBouncer 1.21 or newer"), "{}", serve.log());
}

#[tokio::test]
async fn transaction_mode__required_role_settings_named() {
    let Some(server) = server().await else { return };
    server.sql("ALTER ROLE panda SET default_transaction_isolation = 'repeatable read'").await;
    let Some(bouncer) = Bouncer::before(&server, "trixie", "transaction").await else { return };
    let direct = server.url_as("panda", PASSWORD, "panda");
    let error = db_beside(&bouncer.url("panda", "panda"), &direct).schema().await.unwrap_err();
    assert!(matches!(&error, DbError::Unusable(Cause::Pooled("default_transaction_isolation"))), "{error:?}");
    server.sql("ALTER ROLE panda RESET default_transaction_isolation").await;
    let url = format!("{}?options=-csearch_path=public", bouncer.url("postgres", "panda"));
    let error = db_beside(&url, &server.url("panda")).schema().await.unwrap_err();
    assert!(error.to_string().contains("`options` of the address"), "{error}");
}

#[tokio::test]
async fn direct_address__other_database_refused() {
    let Some(server) = server().await else { return };
    let Some(bouncer) = Bouncer::before(&server, "trixie", "transaction").await else { return };
    let db = db_beside(&bouncer.url("panda", "panda"), &server.url("postgres"));
    let error = write(&db).await.unwrap_err();
    assert!(matches!(&error, DbError::Unusable(Cause::Elsewhere)), "{error:?}");
}

#[tokio::test]
async fn pgbouncer__statement_mode_refused() {
    let Some(server) = server().await else { return };
    for release in ["bookworm", "trixie"] {
        let Some(bouncer) = Bouncer::before(&server, release, "statement").await else { return };
        let direct = server.url_as("panda", PASSWORD, "panda");
        for db in [db(&bouncer.url("panda", "panda")), db_beside(&bouncer.url("panda", "panda"), &direct)] {
            let error = db.schema().await.unwrap_err();
            assert!(matches!(&error, DbError::Unusable(Cause::Untransacted)), "{release}: {error:?}");
        }
    }
}
