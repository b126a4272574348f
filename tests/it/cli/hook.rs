//! `panda hook`, against a server.

use pretty_assertions::assert_eq;
use serde_json::Value;

use super::{panda, run};
use crate::http::fixture;
use crate::pushes::{Webhook, ping};
use crate::support::db::TestDb;
use crate::webhooks::server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cli_hook__created_rotated_redelivered_changed_and_deleted() {
    let db = TestDb::new().await;
    fixture::connections(&db.db).await;
    let server = server(&db).ready().await;
    let command = async |args: &[&str]| run(panda(args).args(["--lang", "en", "--server", &server.url])).await;
    let none = command(&["hook", "list"]).await;
    assert!(none.code == 0 && none.stdout.contains("no push hooks"), "{none:?}");
    let made = command(&[
        "hook",
        "create",
        "--owner",
        "acme",
        "--repo",
        "shop",
        "--branch",
        "release/*",
        "--ignore-path",
        "docs/**",
        "--concurrency",
        "queue",
        "--json",
    ])
    .await;
    assert_eq!(made.code, 0, "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let rule = &made["hook"]["rules"][0];
    assert_eq!((&rule["branches"][0], &rule["concurrency"]), (&"release/*".into(), &"queue".into()));
    let id = made["hook"]["hookId"].as_str().unwrap();
    let url = format!("{}{}", server.url, made["hook"]["payloadPath"].as_str().unwrap());
    let rotated = command(&["hook", "rotate", &id[..12], "--keep-previous", "0"]).await;
    let secret = rotated.stdout.lines().find_map(|line| line.strip_prefix("Secret, which cannot be shown again: "));
    let secret = secret.unwrap_or_else(|| panic!("{rotated:?}")).to_owned();
    let webhook = Webhook { url, secret, client: reqwest::Client::new() };
    let received = webhook.send("ping", &ping()).await.json()["data"].clone();

    let listed = command(&["hook", "deliveries", id, "--decision", "ignored"]).await;
    let delivery = received["deliveryId"].as_str().unwrap();
    assert!(listed.stdout.contains(delivery) && listed.stdout.contains("PING"), "{listed:?}");
    let again = command(&["hook", "redeliver", id, delivery]).await;
    assert!(again.code == 0 && again.stdout.contains("GitHub's event for a new webhook"), "{again:?}");
    let unknown = command(&["hook", "redeliver", id, "72d3162e-cc78-11e3-81ab-4c9367dc0958"]).await;
    assert!(unknown.code != 0 && unknown.stderr.contains("PUSH_DELIVERY_NOT_FOUND"), "{unknown:?}");
    let changed = command(&["hook", "change", id, "--disable", "--name", "shop", "--json"]).await;
    let changed: Value = serde_json::from_str(&changed.stdout).unwrap();
    assert_eq!((&changed["enabled"], &changed["name"]), (&Value::Bool(false), &"shop".into()));
    assert_eq!(&changed["rules"][0], rule, "what is not given stays");
    let adopted = command(&["hook", "adopt", id]).await;
    assert!(
        adopted.code == 0
            && adopted.stdout.lines().any(|line| line.starts_with("enabled ") && line.ends_with(" false")),
        "{adopted:?}"
    );
    let deleted = command(&["hook", "delete", id]).await;
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert!(command(&["hook", "show", id]).await.stderr.contains("HOOK_NOT_FOUND"));
}
