use super::{db, opened, trouble};
use crate::support::postgres_proxy::PostgresProxy;
use crate::support::postgres_servers::{HBA, PASSWORD, Server};
use panda::db::connect::Access;
use panda::domain::database::AddressSource;

#[tokio::test]
async fn readiness__connection_failure_cause_named_without_secret() {
    let Some(server) = Server::of(16, &[]).await else { return };
    server.sql(&format!("CREATE ROLE panda LOGIN PASSWORD '{PASSWORD}';\nCREATE DATABASE panda;\nCREATE ROLE nologin NOLOGIN PASSWORD '{PASSWORD}'")).await;
    server.sql("CREATE DATABASE closed ALLOW_CONNECTIONS false;\nCREATE DATABASE private;\nREVOKE ALL ON DATABASE private FROM PUBLIC").await;
    server.sql("CREATE ROLE few LOGIN PASSWORD 'few-secret' CONNECTION LIMIT 0").await;
    server.admit(&format!("hostssl all tls 127.0.0.1/32 trust\nhost all tls 127.0.0.1/32 reject\nhost all trusted 127.0.0.1/32 trust\n{HBA}")).await;
    let port = server.port;
    let as_panda = |rest: &str| format!("postgres://panda:{PASSWORD}@127.0.0.1:{port}/{rest}");
    for (url, expected) in [
        (server.url_as("panda", "hunter2", "panda"), "the database refuses the password"),
        (server.url_as("nosuch", "hunter2", "panda"), "the database refuses the password"),
        (format!("postgres://trusted@127.0.0.1:{port}/panda"), "the database role does not exist or may not log in"),
        (server.url_as("nologin", PASSWORD, "panda"), "the database role does not exist or may not log in"),
        (
            format!("postgres://tls@127.0.0.1:{port}/panda"),
            "the database's pg_hba.conf does not admit this role from this host, or not with this TLS mode or certificate",
        ),
        (as_panda("nosuch"), "the database does not exist on its server"),
        (as_panda("closed"), "the database accepts no connections (ALLOW_CONNECTIONS)"),
        (as_panda("private"), "the database role may not connect to the database (GRANT CONNECT)"),
        (server.url_as("few", "few-secret", "panda"), "the database takes no more connections"),
        (as_panda("panda?sslmode=require"), "the database has no TLS, and sslmode asks for it"),
        (
            as_panda("panda?sslmode=verify-full&sslrootcert=/nowhere/ca.pem"),
            "the database has no TLS, and sslmode asks for it",
        ),
        (
            "postgres://panda:hunter2@127.0.0.1:1/panda".to_owned(),
            "nothing listens at the database's address (connection refused)",
        ),
        ("postgres://panda:hunter2@no-such-host.invalid/panda".to_owned(), "the database's host name does not resolve"),
        (
            "postgres:///panda?host=/nowhere&user=panda&password=hunter2".to_owned(),
            "the database's socket does not exist or may not be used",
        ),
        (
            "postgres://panda:hunter2@127.0.0.1:1,127.0.0.1:2/panda".to_owned(),
            "nothing listens at the database's address (connection refused)",
        ),
    ] {
        let said = trouble(&db(&url)).await;
        assert_eq!(said, expected, "{url}");
        let error = format!("{:?}", db(&url).schema().await.unwrap_err());
        assert!(!error.contains("hunter2") && !error.contains(PASSWORD), "{error}");
    }
}

#[tokio::test]
async fn readiness__silent_server_named() {
    let Some(server) = Server::of(16, &[]).await else { return };
    let proxy = PostgresProxy::to(&format!("127.0.0.1:{}", server.port)).await;
    proxy.set(false);
    let url = format!("postgres://postgres:{PASSWORD}@{}/postgres", proxy.address());
    let said = trouble(&db(&url)).await;
    assert!(
        ["the database closed the connection while it was being opened", "the database does not answer"]
            .contains(&said.as_str()),
        "{said}"
    );
}

#[tokio::test]
async fn database_url_file__missing_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("url");
    let refused = || opened(AddressSource::File(path.clone()), Access::default()).map(|_| ()).unwrap_err().to_string();
    assert_eq!(refused(), "the file with the database URL cannot be read");
    std::fs::write(&path, "\n").unwrap();
    assert!(refused().contains("empty"), "{}", refused());
    std::fs::write(&path, "postgres://u:hunter2@h/d?hunter2=1").unwrap();
    assert!(refused().contains("does not know") && !refused().contains("hunter2"), "{}", refused());
}
