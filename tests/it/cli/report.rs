//! `panda report` against a server.

use pretty_assertions::assert_eq;

use super::{panda, run};
use crate::http::Fixture;
use crate::support::db::TestDb;
use crate::support::panda::Panda;

#[tokio::test]
async fn cli_report__table_csv_and_json() {
    let db = TestDb::new().await;
    Fixture::begin_of(&db.db, "acme", "shop").await.fail().await;
    Fixture::begin_of(&db.db, "other", "web").await.complete().await;
    let server = Panda::builder().on(&db).process().ready().await;
    let report = async |args: &[&str]| run(panda(&["report"]).args(args).args(["--server", &server.url])).await;

    let list = report(&[]).await;
    assert_eq!(list.code, 0, "{list:?}");
    assert!(list.stdout.contains("lead-time           Lead time by week\n"), "{list:?}");

    let table = report(&["failures", "--since", "1d"]).await;
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert!(lines[0].starts_with("Failures by cause, 20"), "{table:?}");
    assert_eq!(lines[3], "error_code    stage   failed_attempts  retried  last_failed_at");
    assert!(lines[4].starts_with("BUILD_FAILED  Step 1                1        0  20"), "{table:?}");
    assert_eq!(lines.len(), 5, "no bars without a terminal: {table:?}");

    let csv = report(&["repositories", "--repo", "acme/shop", "--format", "csv"]).await;
    assert_eq!(
        csv.stdout, "owner,repo,deployments,completed,failed,stopped,mean_minutes\nacme,shop,1,0,1,0,\n",
        "{csv:?}"
    );

    let dora = report(&["dora"]).await;
    for column in ["deployments", "lead_time_hours", "change_fail_percent", "recovery_hours", "rework_percent"] {
        assert!(dora.stdout.lines().nth(3).unwrap().contains(column), "five figures: {dora:?}");
    }
    let korean = report(&["dora", "--lang", "ko"]).await;
    assert!(korean.stdout.starts_with("월별 DORA 지표, 20") && !korean.stdout.contains("figures"), "{korean:?}");

    let json = report(&["dora", "--format", "json"]).await;
    let data: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&data["name"], &data["rows"][0][0].is_string()), (&"dora".into(), &true));

    let nothing = report(&["failures", "--until", "2020-01-01"]).await;
    assert!(nothing.stdout.ends_with("\nnothing\n"), "{nothing:?}");
}

#[tokio::test]
async fn cli_report__invalid_query_refused() {
    let db = TestDb::new().await;
    let server = Panda::builder().on(&db).process().ready().await;
    for (args, code, said) in [
        (["--since", "yesterday"], 2, "30d"),
        (["--repo", "shop"], 2, "acme/shop"),
        (["--format", "xml"], 2, "csv"),
        (["--since", "2999-01-01"], 2, "since: "),
        (["--branch", ".."], 2, "branch: "),
    ] {
        let ended = run(panda(&["report", "dora"]).args(args).args(["--server", &server.url])).await;
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
    let unknown = run(panda(&["report", "everything"]).args(["--server", &server.url])).await;
    assert_eq!(unknown.code, 4);
    assert!(unknown.stderr.contains("REPORT_NOT_FOUND"), "{unknown:?}");
}

#[tokio::test]
async fn cli_report__role_script_printed() {
    let db = TestDb::new().await;
    for more in [&["--database-url", db.url()][..], &[]] {
        let printed = run(panda(&["migrate", "--print-report-role"]).args(more)).await;
        let script = panda::db::reports::ROLE_SCRIPT.trim_end();
        assert_eq!((printed.code, printed.stdout.trim_end()), (0, script), "{printed:?}");
    }
    let unnamed = run(&mut panda(&["migrate"])).await;
    assert!(unnamed.code == 2 && unnamed.stderr.contains("--database-url <URL>"), "{unnamed:?}");
    let migrated = run(&mut panda(&["migrate", "--database-url", db.url()])).await;
    assert_eq!(migrated.stdout, "The schema is up to date.\n", "{migrated:?}");
}
