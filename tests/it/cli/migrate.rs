//! `panda migrate` while the database is not available yet.

use std::process::Stdio;

use panda_dev_services::{Postgres, PostgresOptions, temporary_folder};
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use url::Url;

use super::{panda, run};
use crate::support::db::TestDb;
use crate::support::postgres_proxy::PostgresProxy;

/// The message about a server that closes connections.
const AWAY: &str = "the database closed the connection while it was being opened";

const WAITS: &str = "waiting for the database";

#[tokio::test]
async fn cli_migrate__waits_for_late_database() {
    // The proxy is closed, and the server behind it is started later.
    let proxy = PostgresProxy::to("127.0.0.1:9").await;
    proxy.set(false);
    let url = |of: &Postgres| {
        let mut url: Url = of.url().expose_secret().parse().unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url
    };
    let folder = temporary_folder().unwrap();
    let options = || PostgresOptions { data_dir: folder.path().join("postgres"), durable: false };
    // The first start creates the password, so that the URL is known.
    let first = Postgres::start(options()).await.unwrap();
    let mut through = url(&first);
    through.set_port(Some(proxy.address().port())).unwrap();
    first.stop().await.unwrap();

    let args = ["migrate", "--database-url", through.as_str(), "--wait-ms=60000", "--database-acquire-timeout-ms=300"];
    let mut migrating = panda(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(migrating.stderr.take().unwrap()).lines();
    let line = stderr.next_line().await.unwrap().unwrap();
    assert!(line.contains(WAITS) && line.contains(AWAY), "{line}");

    let server = Postgres::start(options()).await.unwrap();
    proxy.lead_to(format!("127.0.0.1:{}", server.port()));
    proxy.set(true);
    let ended = migrating.wait_with_output().await.unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success() && said.contains("The schema is up to date."), "{said}");
    let mut more = Vec::new();
    while let Some(line) = stderr.next_line().await.unwrap() {
        more.push(line);
    }
    assert!(more.iter().all(|line| !line.contains(AWAY)), "once: {more:#?}");
    let mut psql = PgConnection::connect(url(&server).as_str()).await.unwrap();
    let applied: i64 =
        sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success").fetch_one(&mut psql).await.unwrap();
    assert!(applied > 0);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn cli_migrate__timeout_names_cause_and_permanent_errors_end_immediately() {
    let db = TestDb::new().await;
    let proxy = PostgresProxy::before(&db, false).await;
    let away = proxy.url(&db);
    let migrate = async |url: &Url, wait: &str| {
        let args = ["migrate", "--database-url", url.as_str(), "--database-acquire-timeout-ms=200", "--wait-ms", wait];
        run(&mut panda(&args)).await
    };
    for (wait, waits) in [("0", 0), ("700", 1)] {
        let ended = migrate(&away, wait).await;
        assert_ne!(ended.code, 0, "{ended:?}");
        assert!(ended.stderr.contains(&format!("panda: {AWAY}")), "{ended:?}");
        assert_eq!(ended.stderr.matches(WAITS).count(), waits, "{ended:?}");
        assert!(!ended.stderr.contains("backtrace") && ended.stderr.lines().count() <= 1 + waits, "{ended:?}");
    }
    let mut none: Url = db.url().parse().unwrap();
    none.set_path("/no_such_database");
    let ended = migrate(&none, "86400000").await;
    assert!(ended.code != 0 && ended.stderr.contains("the database does not exist on its server"), "{ended:?}");
    assert!(ended.stderr.contains("(database \"no_such_database\" as role "), "{ended:?}");
    assert!(none.password().is_none_or(|password| !ended.stderr.contains(password)), "{ended:?}");
    let wrong = migrate(&away, "a while").await;
    assert!(wrong.code == 2 && wrong.stderr.contains("--wait-ms"), "{wrong:?}");
}
