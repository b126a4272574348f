//! `panda webhook`, against a server and a real receiver.

use pretty_assertions::assert_eq;
use serde_json::Value;

use super::{panda, run};
use crate::http::Fixture;
use crate::support::db::TestDb;
use crate::support::wait_for;
use crate::webhooks::{Receiver, Reply, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cli_webhook__created_tested_rotated_replayed_and_deleted() {
    let db = TestDb::new().await;
    let receiver = Receiver::start().await;
    let server = server(&db).ready().await;
    let command = async |args: &[&str]| run(panda(args).args(["--lang", "en", "--server", &server.url])).await;
    let none = command(&["webhook", "list"]).await;
    assert!(none.code == 0 && none.stdout.contains("no webhooks"), "{none:?}");
    let made = command(&[
        "webhook",
        "create",
        &receiver.url,
        "--event",
        "stage",
        "--repository",
        "acme/*",
        "--language",
        "en",
    ])
    .await;
    assert_eq!(made.code, 0, "{made:?}");
    let secret =
        made.stdout.lines().find_map(|line| line.strip_prefix("Secret, which cannot be shown again: ")).unwrap();
    let listed = command(&["webhook", "list"]).await;
    let id = listed.stdout.split_whitespace().find(|word| word.starts_with("whk_")).unwrap();
    assert!(listed.stdout.contains(&receiver.url) && !listed.stdout.contains(secret), "{listed:?}");

    let tested = command(&["webhook", "test", &id[..10]]).await;
    assert!(tested.code == 0 && tested.stdout.contains("accepted  true"), "{tested:?}");
    let test = receiver.received().pop().unwrap();
    test.verify(secret).unwrap();
    assert_eq!(test.body["type"], "webhook.test");
    let rotated = command(&["webhook", "rotate", id, "--keep-previous", "0", "--json"]).await;
    let rotated: Value = serde_json::from_str(&rotated.stdout).unwrap();
    command(&["webhook", "test", id]).await;
    let test = receiver.received().pop().unwrap();
    test.verify(rotated["secret"].as_str().unwrap()).unwrap();
    test.verify(secret).unwrap_err();

    receiver.answer(Reply::Status(500));
    let mut deployment = Fixture::begin_of(&db.db, "acme", "shop").await;
    deployment.build_lines(1, 1).await;
    wait_for("it has failed", async || {
        command(&["webhook", "deliveries", id, "--state", "open"]).await.stdout.contains("pending")
    })
    .await;
    let last = "UPDATE receiver_deliveries SET attempts = 16, next_attempt_at = clock_timestamp()";
    sqlx::query(last).execute(&mut db.psql().await).await.unwrap();
    wait_for("it is dead", async || {
        command(&["webhook", "deliveries", id, "--state", "dead"]).await.stdout.contains("status 500")
    })
    .await;
    receiver.answer(Reply::Status(200));
    let event = receiver.received().pop().unwrap().id;
    let replayed = command(&["webhook", "replay", id, &event]).await;
    assert!(replayed.code == 0 && replayed.stdout.contains("pending"), "{replayed:?}");
    wait_for("it is delivered", async || {
        command(&["webhook", "deliveries", id, "--state", "delivered"]).await.stdout.contains(&event)
    })
    .await;
    let again = command(&["webhook", "replay", id, &event]).await;
    assert!(again.code != 0 && again.stderr.contains("DELIVERY_NOT_DEAD"), "{again:?}");

    let changed =
        command(&["webhook", "change", id, "--disable", "--all-events", "--description", "status page", "--json"])
            .await;
    let changed: Value = serde_json::from_str(&changed.stdout).unwrap();
    assert_eq!((&changed["enabled"], &changed["events"]), (&Value::Bool(false), &Value::Null));
    assert_eq!(changed["repositories"], serde_json::json!(["acme/*"]), "what is not given stays");
    for (args, part) in [
        (vec!["webhook", "create", "hooks.example.com"], "https://"),
        (vec!["webhook", "create", "https://h.example/", "--event", "finished"], "stage, success, fail"),
        (vec!["webhook", "create", "https://h.example/", "--repository", "acme"], "--repository"),
        (vec!["webhook", "rotate", id, "--keep-previous", "169"], "168"),
    ] {
        let wrong = command(&args).await;
        assert!(wrong.code == 2 && wrong.stderr.contains(part), "{wrong:?}");
    }
    let gone = command(&["webhook", "delete", id]).await;
    assert_eq!(gone.code, 0, "{gone:?}");
    let unknown = command(&["webhook", "show", id]).await;
    assert!(unknown.code != 0 && unknown.stderr.contains("WEBHOOK_NOT_FOUND"), "{unknown:?}");
}
