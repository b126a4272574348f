use panda::db::connect::Access;
use panda::db::notify::WORK_CHANNEL;
use panda::domain::database::AddressSource;

use super::{opened, trouble, write};
use crate::support::db::TestDb;
use crate::support::postgres_servers::Server;
use crate::support::process::Serve;
use crate::support::wait_for;

#[tokio::test]
async fn password_rotation__new_connections_read_the_file() {
    let Some(server) = Server::of(17, &[]).await else { return };
    server.sql("CREATE ROLE panda LOGIN PASSWORD 'first';\nCREATE DATABASE panda OWNER panda").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("url");
    let give =
        |password: &str| std::fs::write(&path, format!("{}\n", server.url_as("panda", password, "panda"))).unwrap();
    give("first");
    let access = Access { tested: true, ..Access::default() };
    let db = opened(AddressSource::File(path.clone()), access).unwrap();
    db.migrate().await.unwrap();
    write(&db).await.unwrap();
    let cut = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE usename = 'panda'";
    for (n, next) in ["second", "third", "fourth"].into_iter().enumerate() {
        // The file changes before the role does, or after.
        if n % 2 == 0 {
            give(next);
        }
        server.sql(&format!("ALTER ROLE panda PASSWORD '{next}'")).await;
        server.ask("postgres", cut).await;
        if n % 2 == 1 {
            assert_eq!(trouble(&db).await, "the database refuses the password");
            give(next);
        }
        // Several concurrent failures read the file once, and not again within a second.
        wait_for("the new file is read", async || write(&db).await.is_ok()).await;
        let _listener = db.listen(WORK_CHANNEL).await.unwrap();
    }
}

#[tokio::test]
async fn password_rotation__ready_again_without_restart() {
    let Some(server) = Server::of(15, &[]).await else { return };
    server.sql("CREATE ROLE panda LOGIN PASSWORD 'first';\nCREATE DATABASE panda OWNER panda").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("url");
    let give = |password: &str| std::fs::write(&path, server.url_as("panda", password, "panda")).unwrap();
    give("first");
    let unused = TestDb::existing(server.url("postgres").parse().unwrap(), "panda".to_owned());
    let flag = format!("--database-url-file={}", path.display());
    let serve = Serve::on(&unused, &[&flag, "--migrate", "--no-auth"], &[]);
    let ready = async || {
        let answer = reqwest::get(format!("{}/readyz", serve.url)).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    };
    wait_for("the server is ready", async || ready().await.is_some_and(|(status, _)| status == 200)).await;
    server.sql("ALTER ROLE panda PASSWORD 'second'").await;
    server
        .ask("postgres", "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE usename = 'panda'")
        .await;
    let said = wait_for("the server is not ready", async || ready().await.filter(|(status, _)| *status != 200)).await;
    assert_eq!(said.0, 503, "{}", said.1);
    let said = wait_for("the cause is named", async || {
        ready().await.filter(|(_, body)| body.contains("the database refuses the password"))
    })
    .await;
    assert!(!said.1.contains("first") && said.0 == 503, "{}", said.1);
    give("second");
    wait_for("the server is ready again", async || ready().await.is_some_and(|(status, _)| status == 200)).await;
}

#[tokio::test]
async fn database_url_file__byte_order_mark_empty_and_lost() {
    let Some(server) = Server::of(16, &[]).await else { return };
    server.sql("CREATE ROLE panda LOGIN PASSWORD 'first';\nCREATE DATABASE panda OWNER panda").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("url");
    let give = |password: &str| {
        let url = server.url_as("panda", password, "panda");
        std::fs::write(&path, format!("\u{feff}{url}\r\n")).unwrap();
    };
    give("first");
    let db = opened(AddressSource::File(path.clone()), Access { tested: true, ..Access::default() }).unwrap();
    db.migrate().await.unwrap();
    // An orchestrator may replace the file in several steps: connections use the last address meanwhile.
    std::fs::remove_file(&path).unwrap();
    let cut = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE usename = 'panda'";
    server.ask("postgres", cut).await;
    wait_for("the last address is used", async || write(&db).await.is_ok()).await;
    server.sql("ALTER ROLE panda PASSWORD 'second'").await;
    server.ask("postgres", cut).await;
    for (content, expected) in [
        (None, "the file with the database URL cannot be read"),
        (Some("\n"), "the database URL is not valid: the file with the address is empty or too long"),
        (Some("\u{feff}"), "the database URL is not valid: the file with the address is empty or too long"),
    ] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        wait_for(expected, async || trouble(&db).await == expected).await;
    }
    give("second");
    wait_for("the new file is read", async || write(&db).await.is_ok()).await;
}
