//! scripts/drill-restore.sh and scripts/drill-failover.sh, run as operators run them.

use panda_testing::process::command::run;
use panda_testing::serve::ServeBuilder;
use panda_testing::{Program as _, root};
use pretty_assertions::assert_eq;
use tokio::process::Command;

use super::site::Site;
use crate::support::panda::Panda;
use crate::support::postgres_servers::{PASSWORD, Server};
use crate::support::wait_for;
use panda_testing::document_blocks::{run_blocks, script};

#[tokio::test]
async fn drill_restore__refuses_and_cleans_up() {
    let Some(site) = Site::new(15).await else { return };
    let blocks = run_blocks("docs/operations-recovery.md");
    let prepared: Vec<_> = blocks
        .into_iter()
        .filter(|block| ["Roles and databases", "Backing up"].contains(&block.heading.as_str()))
        .collect();
    site.succeeds(&script(&prepared)).await;
    let owner = site.owner_url("panda");
    let drill = async |more: &str| {
        site.run(&format!("export OWNER_URL='{owner}' PANDA_KEY_FILE=keys; {more} scripts/drill-restore.sh")).await
    };
    let databases = async || {
        site.server
            .ask(
                "postgres",
                "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate",
            )
            .await
    };

    let ended = drill("").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    eprintln!("{}", ended.stdout);
    // Keys that decrypt nothing: the drill fails, and the copy is dropped.
    site.succeeds("psql --quiet \"$ADMIN_URL\" --command='CREATE DATABASE taken'").await;
    let stored = "INSERT INTO installation (key_id, wrapped_key, request_secret_encrypted) VALUES ('lost', '\\x00', '\\x00') ON CONFLICT (one) DO UPDATE SET key_id = 'lost', wrapped_key = '\\x00', request_secret_encrypted = '\\x00'";
    site.server.sql_in("panda", stored).await;
    let ended = drill("").await;
    assert!(ended.code == 5 && ended.stdout.contains("missing"), "{ended:?}");
    // A database that exists is left alone.
    let ended = drill("DRILL_DATABASE=taken").await;
    assert!(ended.code != 0 && ended.stderr.contains("already exists"), "{ended:?}");
    let ended = drill("DRILL_DATABASE='x; DROP DATABASE panda'").await;
    assert!(ended.code == 2 && ended.stderr.contains("DRILL_DATABASE"), "{ended:?}");
    assert_eq!(databases().await, "panda postgres taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drill_failover__measures_two_replicas() {
    let Some(mut primary) = Server::of(16, &[]).await else { return };
    primary.sql("CREATE DATABASE panda").await;
    crate::postgres::db(&primary.url("panda")).migrate().await.unwrap();
    primary.stop(true);
    let mut standby = primary.copied();
    primary.start(&[]).await;
    standby.follow(&primary);
    standby.start(&[]).await;
    let sent = "SELECT count(*)::text FROM pg_stat_replication WHERE state = 'streaming'";
    wait_for("the standby follows", async || primary.ask("postgres", sent).await == "1").await;
    let url = format!(
        "--database-url=postgres://postgres:{PASSWORD}@127.0.0.1:{},127.0.0.1:{}/panda",
        primary.port, standby.port
    );
    let flags = [url.as_str(), "--controller-region=eu-west-1"];
    let replica = || {
        ServeBuilder::of(&Panda::path())
            .flags(&flags)
            .variables(&[("AWS_ACCESS_KEY_ID", "none"), ("AWS_SECRET_ACCESS_KEY", "none")])
    };
    let (one, two) = (replica().ready().await, replica().ready().await);

    // As a power cut of the primary, and a promotion half a second later.
    let pid = primary.pid();
    let promote = format!(
        "kill -QUIT {pid}; sleep 0.5; psql --quiet --no-psqlrc 'postgres://postgres:{PASSWORD}@127.0.0.1:{}/postgres' --command='SELECT pg_promote()' > /dev/null",
        standby.port
    );
    let mut drill = Command::new(root().join("scripts/drill-failover.sh"));
    drill.args([&one.url, &two.url]).env("FAILOVER_COMMAND", promote).env("DRILL_SECONDS", "120");
    let ended = run(&mut drill).await;
    eprintln!("{}", ended.stdout);
    assert_eq!(ended.code, 0, "{ended:?}");
    for replica in [&one.url, &two.url] {
        assert!(ended.stdout.contains(&format!("{replica}: ")), "{ended:?}");
    }
    let mut none = Command::new(root().join("scripts/drill-failover.sh"));
    let refused = run(none.arg("http://127.0.0.1:9")).await;
    assert!(refused.code == 1 && refused.stderr.contains("is not ready before the failover"), "{refused:?}");
}
