//! `panda migrate`, when the database is not there yet.

use std::process::Stdio;

use panda::sandbox::parts::{Postgres, PostgresOptions, temporary_folder};
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use url::Url;

use super::{panda, run};
use crate::support::db::TestDb;
use crate::support::gate::Gate;

/// What it says of a server behind which there is none.
const AWAY: &str = "the database closed the connection while it was being opened";

const WAITS: &str = "the database is waited for";

#[tokio::test]
async fn a_database_that_comes_up_late_is_waited_for_and_one_line_says_so() {
    // Nobody is there: the door is shut, and the server behind it is started later.
    let gate = Gate::to("127.0.0.1:9").await;
    gate.set(false);
    let url = |of: &Postgres| {
        let mut url: Url = of.url().expose_secret().parse().unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url
    };
    let folder = temporary_folder().unwrap();
    let options = || PostgresOptions { data_dir: folder.path().join("postgres"), durable: false };
    // Its name and password are made at its first start.
    let first = Postgres::start(options()).await.unwrap();
    let mut through = url(&first);
    through.set_port(Some(gate.address().port())).unwrap();
    first.stop().await.unwrap();

    let args = ["migrate", "--database-url", through.as_str(), "--wait-ms=60000", "--database-acquire-timeout-ms=300"];
    let mut migrating = panda(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(migrating.stderr.take().unwrap()).lines();
    let line = stderr.next_line().await.unwrap().unwrap();
    assert!(line.contains(WAITS) && line.contains(AWAY), "{line}");

    let server = Postgres::start(options()).await.unwrap();
    gate.lead_to(format!("127.0.0.1:{}", server.port()));
    gate.set(true);
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
async fn when_the_time_is_up_it_says_what_is_wrong_and_what_waiting_does_not_mend_ends_it_at_once() {
    let db = TestDb::new().await;
    let gate = Gate::before(&db, false).await;
    let away = gate.url(&db);
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
    let wrong = migrate(&away, "a while").await;
    assert!(wrong.code == 2 && wrong.stderr.contains("--wait-ms"), "{wrong:?}");
}
