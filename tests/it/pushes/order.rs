//! Deliveries that are repeated, concurrent or out of order.

use futures_util::future::join_all;
use pretty_assertions::assert_eq;
use serde_json::json;
use uuid::Uuid;

use super::github::{Webhook, id, push};
use super::{Hooked, received};
use crate::http::auth::serve;

#[tokio::test]
async fn push__repeated_delivery_has_one_effect_at_two_replicas() {
    let hooked = Hooked::new().await;
    let second = serve(&hooked.db.db).await;
    let there = Webhook { url: hooked.webhook.url.replace(&hooked.api.base, &second.base), ..hooked.webhook.clone() };
    let (delivery, payload) = (Uuid::new_v4(), push(&id('a'), &id('b')));
    let senders = (0..8).map(|n| if n % 2 == 0 { &hooked.webhook } else { &there });
    let answers = join_all(senders.map(|sender| sender.redeliver("push", delivery, &payload))).await;
    let answers: Vec<_> = answers.iter().map(|answer| received(answer, "RULE_MATCHED")).collect();
    assert_eq!(answers.iter().filter(|data| data["repeated"] == json!(false)).count(), 1);
    assert!(answers.iter().all(|data| data["deploymentId"] == answers[0]["deploymentId"]), "{answers:?}");
    assert_eq!((hooked.deployments().await, hooked.deliveries().await.len()), (1, 1));
    // A later one, with the same id and another payload, is a repetition as well.
    let data = received(&hooked.webhook.redeliver("push", delivery, &push(&id('a'), &id('b'))).await, "RULE_MATCHED");
    assert_eq!((&data["repeated"], hooked.deployments().await), (&json!(true), 1));
}

#[tokio::test]
async fn push__later_one_supersedes_and_an_older_one_does_not() {
    let hooked = Hooked::new().await;
    let at = |seconds: i64, before, after| {
        let mut payload = push(&id(before), &id(after));
        payload["repository"]["pushed_at"] = json!(seconds);
        payload
    };
    let first = received(&hooked.webhook.send("push", &at(1_000, 'a', 'b')).await, "RULE_MATCHED");
    let third = received(&hooked.webhook.send("push", &at(1_002, 'c', 'd')).await, "RULE_MATCHED");
    let late = received(&hooked.webhook.send("push", &at(1_001, 'b', 'c')).await, "PUSH_OUTDATED");
    assert_eq!(late["decision"], "ignored");
    // Within one second, the commits are in order.
    let fourth = received(&hooked.webhook.send("push", &at(1_002, 'e', 'f')).await, "RULE_MATCHED");
    received(&hooked.webhook.send("push", &at(1_002, 'd', 'e')).await, "PUSH_OUTDATED");
    let sql = "SELECT cancel_requested_at IS NOT NULL FROM deployments WHERE id = $1";
    for (data, superseded) in [(first, true), (third, true), (fourth, false)] {
        let row = sqlx::query_scalar::<_, bool>(sql).bind(data["deploymentId"].as_str());
        assert_eq!(row.fetch_one(&mut hooked.db.psql().await).await.unwrap(), superseded);
    }
}

#[tokio::test]
async fn push__waits_behind_a_switch_and_is_refused_by_a_rule_that_rejects() {
    let hooked = Hooked::new().await;
    let first = received(&hooked.webhook.send("push", &push(&id('a'), &id('b'))).await, "RULE_MATCHED");
    let switching = "UPDATE deployments SET status = 'DEPLOYMENT_READY', switch_requested_at = now() WHERE id = $1";
    sqlx::query(switching).bind(first["deploymentId"].as_str()).execute(&mut hooked.db.psql().await).await.unwrap();
    let data = received(&hooked.webhook.send("push", &push(&id('b'), &id('c'))).await, "QUEUED_BEHIND_SWITCH");
    assert_eq!(data["decision"], "started");
    let queued: bool = sqlx::query_scalar("SELECT queued FROM deployments WHERE id = $1")
        .bind(data["deploymentId"].as_str())
        .fetch_one(&mut hooked.db.psql().await)
        .await
        .unwrap();
    assert!(queued);
    let mut rule = hooked.body["rules"][0].clone();
    rule["concurrency"] = json!("reject");
    hooked.change(&json!({"rules": [rule]})).await;
    let data = received(&hooked.webhook.send("push", &push(&id('c'), &id('d'))).await, "TARGET_TAKEN");
    assert_eq!((&data["decision"], hooked.deployments().await), (&json!("rejected"), 2));
}
