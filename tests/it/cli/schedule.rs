//! Schedules and connections from the command line.

use pretty_assertions::assert_eq;
use serde_json::Value;

use super::{Server, panda, run};
use crate::http::story;
use crate::support::db::TestDb;

#[tokio::test]
async fn a_schedule_is_made_shown_paused_run_and_deleted() {
    let db = TestDb::new().await;
    let server = Server::start(&db, &[]).await;
    let command = async |args: &[&str]| run(panda(args).args(["--server", &server.url])).await;
    let none = command(&["schedule", "list"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (0, "no schedules: see panda schedule create --help\n"), "{none:?}");
    let create = ["schedule", "create", "--cron", "30 6 * * MON-FRI", "--time-zone", "Asia/Seoul", "--name", "morning"];
    let unconnected = command(&create).await;
    assert_eq!(unconnected.code, 2);
    assert!(unconnected.stderr.contains("panda connect github"), "{unconnected:?}");

    let github = story::github_connection(&db.db, "acme", "shop").await;
    story::aws_connection(&db.db).await;
    let made = command(&[&create[..], &["--json"]].concat()).await;
    assert_eq!(made.code, 0, "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let id = made["scheduleId"].as_str().unwrap();
    assert_eq!((&made["deploy"]["branch"], &made["missed"]), (&"main".into(), &"run_once".into()));
    let list = command(&["schedule", "list"]).await;
    assert!(
        list.stdout.contains(id) && list.stdout.contains("Asia/Seoul") && list.stdout.contains("30 6 * * MON-FRI"),
        "{list:?}"
    );
    let wrong = command(&["schedule", "create", "--cron", "0 0 30 2 *"]).await;
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.starts_with("panda: cron: never fires"), "{wrong:?}");
    let wrong = command(&["schedule", "change", id, "--time-zone", "asia/seoul"]).await;
    assert!(wrong.code == 2 && wrong.stderr.contains("did you mean Asia/Seoul?"), "{wrong:?}");

    let changed =
        command(&["schedule", "change", id, "--cron", "@daily", "--branch", "release", "--missed", "skip"]).await;
    assert!(
        changed.code == 0 && changed.stdout.contains("0 0 * * *") && changed.stdout.contains("release"),
        "{changed:?}"
    );
    let paused = command(&["schedule", "pause", id]).await;
    assert!(paused.code == 0 && !paused.stdout.contains("nextRunAt"), "{paused:?}");
    let resumed = command(&["schedule", "resume", id]).await;
    assert!(resumed.code == 0 && resumed.stdout.contains("nextRunAt"), "{resumed:?}");
    let started = command(&["schedule", "run", id]).await;
    assert!(started.code == 0 && started.stdout.contains("dep_"), "{started:?}");
    let runs = command(&["schedule", "runs", id]).await;
    assert!(runs.stdout.contains("started") && runs.stdout.contains("dep_"), "{runs:?}");
    let shown = command(&["schedule", "show", id]).await;
    assert!(shown.stdout.contains("lastRun") && shown.stdout.contains("morning"), "{shown:?}");
    assert_eq!(command(&["schedule", "delete", id]).await.code, 0);
    let gone = command(&["schedule", "show", id]).await;
    assert!(gone.code == 4 && gone.stderr.contains("SCHEDULE_NOT_FOUND"), "{gone:?}");

    crate::schedules::end_all(&db).await;
    let removed = command(&["connections", "remove", &github]).await;
    assert!(removed.code == 0 && removed.stdout.contains(&github), "{removed:?}");
    let again = command(&["connections", "remove", &github]).await;
    assert!(again.code == 4 && again.stderr.contains("CONNECTION_NOT_FOUND"), "{again:?}");
    let listed = command(&["connections"]).await;
    assert!(listed.code == 0 && !listed.stdout.contains(&github), "{listed:?}");
}
