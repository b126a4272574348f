//! What is not signed by a valid secret starts nothing, and fills no table.

use panda::db::DbError;
use panda::domain::keyring::{KeyError, Keyring};
use pretty_assertions::assert_eq;
use serde_json::json;
use uuid::Uuid;

use super::github::{NONE, Webhook, id, push, signature};
use super::{Hooked, PATH, hook, received, rule};
use crate::db::encryption::with_keys;
use crate::http::{Answer, Api};
use crate::support::db::TestDb;

#[tokio::test]
async fn push_signature__wrong_or_missing_is_recorded_within_bounds() {
    let hooked = Hooked::new().await;
    let body = push(NONE, &id('a')).to_string().into_bytes();
    let (delivery, hook) = (Uuid::new_v4(), &hooked.webhook);
    let signed = |by: &str| signature(by, &body);
    for wrong in [
        Some(signed("another secret")),
        Some(signed(&hook.secret)[..70].to_owned()),
        Some(signed(&hook.secret).replace("sha256=", "sha1=")),
        Some(String::new()),
        None,
    ] {
        let request = hook.unsigned("push", delivery).body(body.clone());
        let request = wrong.iter().fold(request, |request, wrong| request.header("x-hub-signature-256", wrong));
        Answer::of(request.send().await.unwrap()).await.problem(401, "PUSH_SIGNATURE_INVALID");
    }
    let mut changed = body.clone();
    *changed.last_mut().unwrap() = b' ';
    let request = hook.unsigned("push", delivery).header("x-hub-signature-256", signed(&hook.secret)).body(changed);
    Answer::of(request.send().await.unwrap()).await.problem(401, "PUSH_SIGNATURE_INVALID");
    assert_eq!(hooked.deployments().await, 0);
    let deliveries = hooked.deliveries().await;
    assert_eq!(deliveries.len(), 6);
    assert_eq!(
        (&deliveries[0]["decision"], &deliveries[0]["reasonCode"], &deliveries[0]["verified"]),
        (&json!("rejected"), &json!("SIGNATURE_INVALID"), &json!(false))
    );
    hooked.redeliver(&delivery.to_string()).await.problem(404, "PUSH_DELIVERY_NOT_FOUND");

    for _ in 0..20 {
        let request = hook.unsigned("push", Uuid::new_v4()).body("{}");
        Answer::of(request.send().await.unwrap()).await.problem(401, "PUSH_SIGNATURE_INVALID");
    }
    let deliveries = hooked.deliveries().await;
    assert_eq!((deliveries.len(), &deliveries[0]["attempts"]), (20, &json!(7)), "the last row counts the rest");

    // The id that the others used is not taken by them.
    let request = hook.request("push", delivery, body);
    received(&Answer::of(request.send().await.unwrap()).await, "RULE_MATCHED");
}

#[tokio::test]
async fn push_signature__both_secrets_during_a_rotation() {
    let hooked = Hooked::new().await;
    let rotate = async |hours: i64| {
        let path = format!("{PATH}/{}/secret", hooked.id);
        let data = hooked.caller().post(&path, &json!({"keepPreviousHours": hours})).await;
        let data = data.data("푸시 훅 시크릿이 교체되었습니다.");
        Webhook { secret: data["secret"].as_str().unwrap().to_owned(), ..hooked.webhook.clone() }
    };
    let second = rotate(1).await;
    received(&hooked.webhook.send("ping", &super::github::ping()).await, "PING");
    received(&second.send("ping", &super::github::ping()).await, "PING");
    let third = rotate(0).await;
    for before in [&hooked.webhook, &second] {
        before.send("ping", &super::github::ping()).await.problem(401, "PUSH_SIGNATURE_INVALID");
    }
    received(&third.send("ping", &super::github::ping()).await, "PING");
    rotate(1).await;
    rotate(1).await;
    let path = format!("{PATH}/{}/secret", hooked.id);
    hooked.caller().post(&path, &json!({"keepPreviousHours": 1})).await.problem(409, "TOO_MANY_HOOK_SECRETS");
    hooked.caller().post(&path, &json!({"keepPreviousHours": 169})).await.problem(400, "INVALID_FIELD");
    assert_eq!(hooked.deployments().await, 0);
}

#[tokio::test]
async fn push_signature__secrets_follow_key_rotation() {
    let test = TestDb::new().await;
    let (old, new) = (Keyring::generate().unwrap(), Keyring::generate().unwrap());
    let before = with_keys(&test, &[&old]);
    let api = Api::serve(&before).await;
    let (id, webhook) = hook(&api, &json!({"rules": [rule(&before, &json!({})).await]})).await;
    let row = format!("push_hooks/{id}");
    let rotated = with_keys(&test, &[&new]);
    let unreadable = rotated.check_rows().await.unwrap();
    assert!(unreadable.unreadable().iter().any(|found| found.row == row), "{unreadable:?}");
    let refused = rotated.receiving_hook(&id).await.unwrap_err();
    assert!(matches!(refused, DbError::Key(KeyError::Unknown { .. })), "{refused}");
    let both = with_keys(&test, &[&new, &old]);
    let rows = both.check_rows().await.unwrap().totals().0;
    assert_eq!(both.rewrap_keys().await.unwrap(), rows, "each row that the check counts");
    assert_eq!(both.rewrap_keys().await.unwrap(), 0);
    let usage = rotated.check_rows().await.unwrap();
    assert_eq!((usage.totals(), usage.unreadable().len()), ((rows, 0), 0));
    // The secret at GitHub stays the same.
    let after = Api::serve(&rotated).await;
    let webhook = Webhook { url: format!("{}{PATH}/github/{id}", after.base), ..webhook };
    received(&webhook.send("ping", &super::github::ping()).await, "PING");
}
