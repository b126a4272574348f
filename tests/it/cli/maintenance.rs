//! `panda maintenance` against a server.

use serde_json::Value;

use super::{panda, run};
use crate::http::Fixture;
use crate::maintenance::{age, codes};
use crate::support::db::TestDb;
use crate::support::panda::Panda;

#[tokio::test]
async fn cli_maintenance__counts_removes_and_lists() {
    let db = TestDb::new().await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 7).await;
    fixture.fail().await;
    age(&db, fixture.id(), 31).await;
    let server = Panda::builder().on(&db).flags(&["--retention-deployments=never"]).process().ready().await;
    let panda = async |args: &[&str]| run(panda(args).env("PANDA_SERVER", &server.url)).await;

    let kinds = panda(&["maintenance"]).await;
    assert_eq!(kinds.code, 0, "{kinds:?}");
    let line = |text: &str, begin: &str| text.lines().find(|line| line.starts_with(begin)).unwrap().to_owned();
    assert!(line(&kinds.stdout, "build_lines").contains("30d"), "{}", kinds.stdout);
    assert!(line(&kinds.stdout, "deployments").contains("never"), "{}", kinds.stdout);

    let dry = panda(&["maintenance", "run", "build_lines", "--dry-run", "--json"]).await;
    assert_eq!(dry.code, 0, "{dry:?}");
    let data: Value = serde_json::from_str(&dry.stdout).unwrap();
    assert_eq!((&data["runs"][0]["removed"], &data["runs"][0]["dryRun"]), (&Value::from(7), &Value::from(true)));
    assert_eq!(codes(&db, fixture.id()).await.len(), 8);

    let done = panda(&["maintenance", "run", "build_lines"]).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("done") && done.stdout.contains('7'), "{}", done.stdout);
    assert_eq!(codes(&db, fixture.id()).await, ["build_failed"]);

    let runs = panda(&["maintenance", "runs", "--kind", "build_lines"]).await;
    assert_eq!(runs.stdout.lines().count(), 3, "a heading, the run, the dry run: {}", runs.stdout);

    let wrong = panda(&["maintenance", "run", "logs"]).await;
    assert!(wrong.code == 2 && wrong.stderr.contains("build_lines"), "{wrong:?}");
    let never = panda(&["maintenance", "run", "deployments"]).await;
    assert!(never.code == 2 && never.stderr.contains("PANDA_RETENTION_DEPLOYMENTS"), "{never:?}");
}
