//! `panda keys check` on a read-only standby, which refuses every write.

use crate::cli::{panda, run};
use crate::http::fixture::connections;
use crate::postgres::{db, write};
use crate::support::db::KEY_FILE;
use crate::support::postgres_servers::Server;
use crate::support::wait_for;

#[tokio::test]
async fn keys_check__reads_a_standby() {
    let Some(mut primary) = Server::of(16, &[]).await else { return };
    primary.sql("CREATE DATABASE panda").await;
    let used = db(&primary.url("panda"));
    used.migrate().await.unwrap();
    connections(&used).await;
    drop(used);
    primary.stop(true);
    let mut standby = primary.copied();
    primary.start(&[]).await;
    standby.follow(&primary);
    standby.start(&[]).await;
    let url = standby.url("panda");
    assert!(write(&db(&url)).await.is_err(), "it is a standby");
    let check = async || run(panda(&["keys", "check", "--key-file", KEY_FILE]).args(["--database-url", &url])).await;
    wait_for("the standby has both rows", async || check().await.stdout.contains("All 2 encrypted rows")).await;
    assert_eq!(check().await.code, 0);
}
