//! A process that dies while it decides on a push: GitHub's redelivery finds all of the decision, or nothing.

use pretty_assertions::assert_eq;
use serde_json::json;
use uuid::Uuid;

use super::github::{Webhook, id, push};
use super::{hook, received, rule};
use crate::http::count;
use crate::support::db::TestDb;
use crate::webhooks::{caller, server};

/// Fail points of a decision, and the number of deployments that are kept.
const PLACES: [(&str, i64); 2] = [("replica/push decided", 0), ("replica/push committed", 1)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn push__decision_is_atomic_when_killed() {
    let db = TestDb::new().await;
    let other = server(&db).ready().await;
    let body = json!({"rules": [rule(&db.db, &json!({})).await]});
    let (hook_id, webhook) = hook(&caller(&other), &body).await;
    for (n, (place, kept)) in PLACES.into_iter().enumerate() {
        let mut dying = server(&db).variables(&[("FAILPOINTS", &format!("{place}=return"))]).ready().await;
        let there = Webhook { url: format!("{}/api/v1/hooks/github/{hook_id}", dying.url), ..webhook.clone() };
        let (delivery, before) = (Uuid::new_v4(), count(&db, "deployments").await);
        let commits = [id(['a', 'c'][n]), id(['b', 'd'][n])];
        let payload = push(&commits[0], &commits[1]);
        there.request("push", delivery, payload.to_string().into_bytes()).send().await.unwrap_err();
        dying.wait().await;
        assert_eq!(count(&db, "deployments").await - before, kept, "{place}: {}", dying.log());
        let data = received(&webhook.redeliver("push", delivery, &payload).await, "RULE_MATCHED");
        assert_eq!(data["repeated"], json!(kept == 1), "{place}");
        assert_eq!(count(&db, "deployments").await - before, 1, "{place}");
        assert_eq!(count(&db, "push_deliveries").await, i64::try_from(n).unwrap() + 1);
    }
}
