//! Secrets of webhooks: rotated mid-delivery, encrypted at rest, covered by the rotation of keys.

use std::time::Duration;

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{PATH, Receiver, Reply, all, caller, server, shown, webhook};
use crate::http::Fixture;
use crate::support::db::TestDb;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__secret_rotated_mid_delivery() {
    let db = TestDb::new().await;
    let receiver = Receiver::start().await;
    receiver.answer(Reply::Slow(Duration::from_millis(300)));
    let serve = server(&db).ready().await;
    let (id, old) = webhook(&serve, &json!({"url": receiver.url})).await;
    let mut deployment = Fixture::begin_of(&db.db, "acme", "shop").await;
    deployment.build_lines(1, 8).await;
    wait_for("a delivery is under way", async || !receiver.received().is_empty()).await;
    let path = format!("{PATH}/{id}/secret");
    let rotated = caller(&serve).post(&path, &json!({})).await.data("웹훅 시크릿이 교체되었습니다.");
    let new = rotated["secret"].as_str().unwrap().to_owned();
    assert_eq!(rotated["webhook"]["previousSecretsUntil"].as_array().unwrap().len(), 1);
    wait_for("all arrive", async || receiver.of(deployment.id()).len() == 8).await;
    assert_eq!(receiver.of(deployment.id()), all(8), "none was refused or repeated");
    let requests = receiver.received();
    assert!(requests.iter().all(|one| one.verify(&old).is_ok()), "the old secret is valid for a day");
    let last = requests.last().unwrap();
    last.verify(&new).unwrap();
    assert_eq!((requests[0].signatures.len(), last.signatures.len()), (1, 2));

    // A third one is the last that may sign concurrently; with 0 hours only the newest remains.
    caller(&serve).post(&path, &json!({"keepPreviousHours": 1})).await.data("웹훅 시크릿이 교체되었습니다.");
    caller(&serve).post(&path, &json!({})).await.problem(409, "TOO_MANY_WEBHOOK_SECRETS");
    let only = caller(&serve).post(&path, &json!({"keepPreviousHours": 0})).await.data("웹훅 시크릿이 교체되었습니다.");
    receiver.answer(Reply::Status(200));
    let only = only["secret"].as_str().unwrap().to_owned();
    assert_eq!(shown(&serve, &id).await["previousSecretsUntil"], json!([]));
    // The replica follows within a beat.
    let mut line = 8;
    wait_for("only the newest secret signs", async || {
        line += 1;
        deployment.build_lines(line, line).await;
        wait_for("it arrives", async || receiver.of(deployment.id()).len() == line as usize).await;
        let last = receiver.received().pop().unwrap();
        last.signatures.len() == 1 && last.verify(&only).is_ok() && last.verify(&old).is_err()
    })
    .await;
    let wrong = caller(&serve).post(&path, &json!({"keepPreviousHours": 169})).await;
    wrong.problem(400, "INVALID_FIELD");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__secrets_stay_secret_and_follow_key_rotation() {
    let db = TestDb::new().await;
    let receiver = Receiver::start().await;
    let serve = server(&db).ready().await;
    let keyed = || {
        caller(&serve)
            .request(reqwest::Method::POST, PATH)
            .header("idempotency-key", "k")
            .json(&json!({"url": receiver.url}))
    };
    let made: Value = keyed().send().await.unwrap().json().await.unwrap();
    let (id, secret) = (&made["data"]["webhook"]["webhookId"], made["data"]["secret"].as_str().unwrap());
    let again: Value = keyed().send().await.unwrap().json().await.unwrap();
    assert_eq!((&again["data"]["webhook"]["webhookId"], &again["data"]["secret"]), (id, &Value::Null));
    let stored = "SELECT t::text FROM receivers t UNION ALL SELECT t::text FROM receiver_secrets t UNION ALL SELECT t::text FROM audit t
                  UNION ALL SELECT t::text FROM idempotency_keys t";
    let rows: Vec<String> = sqlx::query_scalar(stored).fetch_all(&mut db.psql().await).await.unwrap();
    let encoded = secret.strip_prefix("whsec_").unwrap();
    assert!(rows.len() >= 4 && rows.iter().all(|row| !row.contains(encoded)), "{rows:?}");
    assert!(!shown(&serve, id.as_str().unwrap()).await.to_string().contains(encoded));
    let usage = db.db.check_rows().await.unwrap();
    assert!(usage.unreadable().is_empty() && usage.totals().0 >= 1);
    db.db.rewrap_keys().await.unwrap();
    let mut deployment = Fixture::begin_of(&db.db, "acme", "shop").await;
    deployment.build_lines(1, 1).await;
    wait_for("it arrives", async || !receiver.received().is_empty()).await;
    receiver.received()[0].verify(secret).unwrap();
}
