use super::{db, write};
use crate::support::postgres_servers::{PASSWORD, Server};

#[tokio::test]
async fn address__sockets_and_ipv6_in_every_notation() {
    let Some(server) = Server::of(17, &[]).await else { return };
    server.sql("CREATE DATABASE panda").await;
    let (port, folder) = (server.port, server.folder().display().to_string());
    db(&server.url("panda")).migrate().await.unwrap();
    let encoded = folder.replace('/', "%2F");
    for url in [
        format!("postgres://postgres:{PASSWORD}@[::1]:{port}/panda"),
        format!("postgresql://postgres:{PASSWORD}@localhost:{port}/panda?sslmode=prefer"),
        format!("postgres:///panda?host={folder}&port={port}&user=postgres"),
        format!("postgres://postgres@{encoded}:{port}/panda?sslmode=verify-full"),
        format!("postgres:///panda?host=::1&port={port}&user=postgres&password={PASSWORD}"),
        format!("postgres://postgres:{PASSWORD}@nowhere.invalid:{port}/panda?hostaddr=127.0.0.1"),
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:1,[::1]:{port}/panda?target_session_attrs=read-write"),
        format!("postgres://postgres:{PASSWORD}@127.0.0.1,%2Fnowhere,[::1]/panda?port={port}"),
        format!(
            "postgres://postgres:{PASSWORD}@127.0.0.1:{port}/panda?application_name=x&connect_timeout=2&keepalives=1"
        ),
    ] {
        write(&db(&url)).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }
}

#[tokio::test]
async fn address__options_set_per_session_not_at_startup() {
    let Some(server) = Server::of(17, &[]).await else { return };
    server.sql("CREATE DATABASE panda").await;
    server.sql_in("panda", "CREATE SCHEMA \"second one\"").await;
    let url = format!("{}?options=-c%20search_path=%22second%5C%20one%22", server.url("panda"));
    db(&url).migrate().await.unwrap();
    write(&db(&url)).await.unwrap();
    let found = server.ask("panda", "SELECT count(*)::text FROM \"second one\".replicas").await;
    assert_eq!(found, "1");
}
