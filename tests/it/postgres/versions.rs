use std::time::Duration;

use panda::db::DbError;
use panda::db::connect::Cause;
use panda::db::notify::WORK_CHANNEL;
use panda::domain::schema::Fit;

use super::{db, trouble, write};
use crate::db::{claim_one, new_deployment, replica};
use crate::support::postgres_servers::Server;

async fn works_on(version: u32) {
    // A time zone far from UTC, and another language's calendar.
    let Some(server) =
        Server::of(version, &["timezone=Asia/Seoul", "datestyle=german", "intervalstyle=iso_8601"]).await
    else {
        return;
    };
    server.sql("CREATE DATABASE panda").await;
    let db = db(&server.url("panda"));
    db.migrate().await.unwrap();
    assert!(matches!(db.schema().await.unwrap(), Fit::Fits { newer: None }));
    let sessions = db.sessions().await.unwrap();
    assert!(sessions.kept && sessions.notified, "{sessions:?}");
    let mut listener = db.listen(WORK_CHANNEL).await.unwrap();
    let id = new_deployment(&db).await;
    db.notify_work(&id).await.unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), id);
    let owner = replica(&db).await;
    assert_eq!(claim_one(&db, owner).await.id, id);
    assert!(db.try_lock("test", Duration::from_secs(5)).await.unwrap().is_some());
    write(&db).await.unwrap();
}

#[tokio::test]
async fn postgres_14__works() {
    works_on(14).await;
}

#[tokio::test]
async fn postgres_15__works() {
    works_on(15).await;
}

#[tokio::test]
async fn postgres_16__works() {
    works_on(16).await;
}

#[tokio::test]
async fn postgres_17__works() {
    works_on(17).await;
}

#[tokio::test]
async fn postgres_18__works() {
    works_on(18).await;
}

#[tokio::test]
async fn postgres_12__refused_with_reason() {
    let Some(server) = Server::of(12, &[]).await else { return };
    let db = db(&server.url("postgres"));
    let error = db.migrate().await.unwrap_err();
    assert!(matches!(&error, DbError::Unusable(Cause::TooOld(12))), "{error:?}");
    assert_eq!(error.to_string(), "the database is Postgres 12; Panda needs 14 or newer");
    assert_eq!(trouble(&db).await, error.to_string());
}
