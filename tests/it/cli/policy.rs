//! `panda policy`: the file with its mistakes, versions, targets, and what a closed window says.

use pretty_assertions::assert_eq;
use serde_json::Value;

use super::{panda, run};
use crate::http::{Fixture, fixture};
use crate::support::db::TestDb;
use crate::support::panda::Panda;

#[tokio::test]
async fn cli_policy__stored_shown_and_each_mistake_named() {
    let db = TestDb::new().await;
    let _connected = Fixture::begin_of(&db.db, "acme", "other").await;
    fixture::github_connection(&db.db, "acme", "shop").await;
    let server = Panda::builder().on(&db).process().ready().await;
    let command = async |args: &[&str]| run(panda(args).args(["--lang", "en", "--server", &server.url])).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.json").display().to_string();
    let set = async |content: &str, more: &[&str]| {
        std::fs::write(&path, content).unwrap();
        command(&[&["policy", "set", "acme/shop", "--file", &path], more].concat()).await
    };
    let none = command(&["policy", "show", "acme/shop"]).await;
    assert!(none.code == 0 && none.stdout.contains("no policy is stored"), "{none:?}");

    let window = |member: &str| format!(r#"{{"windows": [{{"cron": "0 9 * * *", "minutes": 60, {member}}}]}}"#);
    for (content, parts) in [
        ("{".to_owned(), ["--file", "line 1"]),
        ("[]".to_owned(), ["body", "object"]),
        (r#"{"window": []}"#.to_owned(), ["window", "`windows`"]),
        (r#"{"windows": [{"minutes": 60}]}"#.to_owned(), ["windows[0].cron", "missing"]),
        (r#"{"windows": [{"cron": "0 9 * *", "minutes": 60}]}"#.to_owned(), ["windows[0].cron", "5 fields"]),
        (r#"{"windows": [{"cron": "0 0 31 2 *", "minutes": 60}]}"#.to_owned(), ["windows[0].cron", "never"]),
        (window(r#""timeZone": "Mars/Base""#), ["windows[0].timeZone", "IANA"]),
        (window(r#""permits": "builds""#), ["windows[0].permits", "starts, switches or both"]),
        (window(r#""days": 1"#), ["windows[0].days", "`timeZone`"]),
        (r#"{"windows": [{"cron": "0 9 * * *", "minutes": 10081}]}"#.to_owned(), ["windows[0].minutes", "10080"]),
        (r#"{"approvals": {"count": 11}}"#.to_owned(), ["approvals.count", "10"]),
        (r#"{"approvals": {"count": 2}}"#.to_owned(), ["approvals.count", "--auth=required"]),
    ] {
        let wrong = set(&content, &[]).await;
        assert!(wrong.code == 2 && parts.iter().all(|part| wrong.stderr.contains(part)), "{content}: {wrong:?}");
    }
    for (args, part) in [
        (vec!["policy", "set", "acme/shop", "--file", "/no/such/file"], "/no/such/file"),
        (vec!["policy", "set", "acme", "--file", &path], "OWNER/REPO"),
        (vec!["policy", "show", "acme/shop", "--account", "123456789012"], "--region"),
        (vec!["policy", "show", "acme/shop", "--account", "1", "--region", "eu-west-1"], "--account"),
        (vec!["policy", "show", "acme/shop", "--account", "123456789012", "--region", "mars"], "AWS region"),
    ] {
        let wrong = command(&args).await;
        assert!(wrong.code == 2 && wrong.stderr.contains(part), "{args:?}: {wrong:?}");
    }

    // A window of a minute on the last day of February: closed whenever this runs, but once in some years.
    let closed = r#"{"windows": [{"cron": "0 0 29 2 *", "minutes": 1, "permits": "starts"}]}"#;
    let stored = set(closed, &["--json"]).await;
    let first: Value = serde_json::from_str(&stored.stdout).unwrap_or_else(|_| panic!("{stored:?}"));
    assert_eq!((&first["version"], &first["windows"][0]["timeZone"]), (&1.into(), &"UTC".into()));
    let held = command(&["deploy", "--owner", "acme", "--repo", "shop"]).await;
    assert!(held.code == 0 && held.stderr.contains("02-29") && held.stderr.contains("window"), "{held:?}");
    let second = set("{}", &[]).await;
    assert!(second.code == 0 && second.stdout.contains("version") && second.stdout.contains('2'), "{second:?}");
    let target = ["--account", "123456789012", "--region", "ap-northeast-2"];
    assert_eq!(set("{}", &target).await.code, 0);
    let shown = command(&["policy", "show", "acme/shop"]).await;
    assert!(shown.code == 0 && shown.stdout.contains("createdBy"), "with its earlier version: {shown:?}");
    let json = command(&["policy", "show", "acme/shop", "--json"]).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["versions"].as_array().map(Vec::len), Some(2), "{json}");
}
