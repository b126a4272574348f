//! Schedules and connections from the command line.

use pretty_assertions::assert_eq;
use serde_json::Value;

use super::{panda, run};
use crate::http::fixture;
use crate::support::db::TestDb;
use crate::support::panda::Panda;
use crate::support::process::Serve;
use crate::support::wait_for;

#[tokio::test]
async fn cli_schedule__life_cycle() {
    let db = TestDb::new().await;
    let server = Panda::builder().on(&db).process().ready().await;
    let command = async |args: &[&str]| run(panda(args).args(["--server", &server.url])).await;
    let none = command(&["schedule", "list"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (0, "no schedules: see panda schedule create --help\n"), "{none:?}");
    let create = ["schedule", "create", "--cron", "30 6 * * MON-FRI", "--time-zone", "Asia/Seoul", "--name", "morning"];
    let unconnected = command(&create).await;
    assert_eq!(unconnected.code, 2);
    assert!(unconnected.stderr.contains("panda connect github"), "{unconnected:?}");

    let github = fixture::github_connection(&db.db, "acme", "shop").await;
    fixture::aws_connection(&db.db).await;
    let made = command(&[&create[..], &["--json"]].concat()).await;
    assert_eq!(made.code, 0, "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let id = made["scheduleId"].as_str().unwrap();
    assert_eq!((&made["deploy"]["branch"], &made["missed"]), (&"main".into(), &"run_once".into()));
    let readable = command(&create).await;
    for line in ["owner               acme", "repo                shop", "branch              main"] {
        assert!(readable.code == 0 && readable.stdout.contains(line), "{line}: {readable:?}");
    }
    assert!(!readable.stdout.contains('{') && !readable.stdout.contains('['), "no JSON: {readable:?}");
    let other = readable.stdout.split_whitespace().nth(1).unwrap();
    assert_eq!(command(&["schedule", "delete", &other[..10]]).await.code, 0, "a part of the id is enough");
    let list = command(&["schedule", "list"]).await;
    for column in ["owner", "repo", "branch", "acme", "shop", "main"] {
        assert!(list.stdout.contains(column), "{column}: {list:?}");
    }
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

#[tokio::test]
async fn cli_schedule__source_and_build_secrets_from_arguments() {
    let db = TestDb::new().await;
    let server = Panda::builder().on(&db).flags(&["--max-deployments=1"]).process().ready().await;
    let command = async |args: &[&str]| run(panda(args).args(["--server", &server.url])).await;
    let github = fixture::github_connection(&db.db, "acme", "shop").await;
    fixture::aws_connection(&db.db).await;

    let secrets = async |args: &[&str]| command(&[&["connections", "secrets"], args].concat()).await;
    let none = secrets(&["list", &github]).await;
    assert!(none.code == 0 && none.stdout.starts_with("no build secrets"), "{none:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a secret of npm\n").unwrap();
    let set = secrets(&["set", &github, "npm", "--value-file", file.path().to_str().unwrap()]).await;
    assert!(set.code == 0 && set.stdout.contains("npm") && !set.stdout.contains("a secret"), "{set:?}");
    let empty = secrets(&["set", &github, "npm"]).await;
    assert!(empty.code == 2 && empty.stderr.contains("--value-file"), "nothing on standard input: {empty:?}");
    let listed = secrets(&["list", &github]).await;
    assert!(listed.stdout.contains("npm") && listed.stdout.contains("updatedAt"), "{listed:?}");

    let two = command(&["deploy", "--tag", "v1", "--branch", "main"]).await;
    assert!(two.code == 2 && two.stderr.contains("cannot be used with"), "{two:?}");
    let unknown = command(&["deploy", "--secret", "other"]).await;
    assert!(unknown.code == 2 && unknown.stderr.contains("build.secrets[0]"), "{unknown:?}");
    let create = ["schedule", "create", "--cron", "@yearly", "--paused", "--json"];
    let what = [
        "--tag",
        "v1.2.0",
        "--context",
        "services/api",
        "--build-arg",
        "A=1=2",
        "--secret",
        "npm",
        "--kind",
        "hotfix",
        "--reason",
        "x y",
    ];
    let made = command(&[&create[..], &what[..]].concat()).await;
    assert_eq!(made.code, 0, "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let build = serde_json::json!({"context": "services/api", "args": {"A": "1=2"}, "secrets": ["npm"]});
    assert_eq!((&made["deploy"]["tag"], &made["deploy"]["build"]), (&"v1.2.0".into(), &build));
    let commit = "9fceb02d0ae598e95dc970b74767f19372d61af8";
    let changed =
        command(&["schedule", "change", made["scheduleId"].as_str().unwrap(), "--commit", commit, "--json"]).await;
    let changed: Value = serde_json::from_str(&changed.stdout).unwrap();
    assert_eq!((&changed["deploy"]["commit"], &changed["deploy"]["tag"]), (&commit.into(), &Value::Null));
    assert_eq!(changed["deploy"]["build"], build);

    let started = command(&[&["deploy"], &what[..]].concat()).await;
    assert_eq!(started.code, 0, "{started:?}");
    let list = command(&["list"]).await;
    assert!(list.stdout.contains("tag v1.2.0"), "{list:?}");
    let result = command(&["result", started.stdout.trim()]).await;
    for says in ["branch", "tag v1.2.0", "reason", "x y", "hotfix"] {
        assert!(result.stdout.contains(says), "{result:?}");
    }
    assert_eq!(secrets(&["remove", &github, "npm"]).await.code, 0);
    let gone = secrets(&["remove", &github, "npm"]).await;
    assert!(gone.code == 4 && gone.stderr.contains("BUILD_SECRET_NOT_FOUND"), "{gone:?}");
    crate::schedules::end_all(&db).await;
}

#[tokio::test]
async fn cli_schedule__stopped_by_token_replacement_and_adopted() {
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin-token");
    let flag = format!("--admin-token-file={}", file.display());
    let serve = async |token: &str| {
        std::fs::write(&file, token).unwrap();
        Panda::builder().on(&db).flags(&[&flag]).process().ready().await
    };
    let command = async |server: &Serve, args: &[&str]| {
        run(panda(args).args(["--server", &server.url, "--panda-token-file"]).arg(&file)).await
    };
    fixture::github_connection(&db.db, "acme", "shop").await;
    fixture::aws_connection(&db.db).await;
    let mut server = serve(&"1".repeat(40)).await;
    let made = command(&server, &["schedule", "create", "--cron", "@yearly", "--json"]).await;
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let id = made["scheduleId"].as_str().unwrap();
    server.kill().await;

    let server = serve(&"2".repeat(40)).await;
    let list = wait_for("the schedule stops before it is due", async || {
        let list = command(&server, &["schedule", "list"]).await;
        list.stdout.contains("ADMIN_TOKEN_REPLACED").then_some(list)
    })
    .await;
    assert!(list.stdout.lines().any(|line| line.contains(id) && line.contains("ADMIN_TOKEN_REPLACED")), "{list:?}");
    let shown = command(&server, &["schedule", "show", id]).await;
    assert!(shown.stdout.contains("panda schedule adopt") && !shown.stdout.contains("nextRunAt"), "{shown:?}");
    let runs = command(&server, &["schedule", "runs", id]).await;
    assert!(runs.stdout.contains("failed") && runs.stdout.contains("ADMIN_TOKEN_REPLACED"), "{runs:?}");
    let text = reqwest::get(format!("{}/metrics", server.url)).await.unwrap().text().await.unwrap();
    assert!(text.contains("panda_schedules_stopped_total{code=\"ADMIN_TOKEN_REPLACED\"} 1"), "{text}");
    let adopted = command(&server, &["schedule", "adopt", id]).await;
    assert!(
        adopted.code == 0 && adopted.stdout.contains("nextRunAt") && !adopted.stdout.contains("\nstopped"),
        "{adopted:?}"
    );
}
