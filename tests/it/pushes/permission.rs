//! A push hook acts with its owner's permission, at the time of the push.

use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use serde_json::json;

use super::github::{id, push};
use super::{Hooked, PATH, received};
use crate::http::auth::Token;

#[tokio::test]
async fn push_permission__ends_with_the_owners_token_until_it_is_taken_over() {
    let hooked = Hooked::new().await;
    let waiting = received(&hooked.webhook.send("push", &push(&id('a'), &id('b'))).await, "RULE_MATCHED");
    let queued = received(&hooked.webhook.send("push", &push(&id('b'), &id('c'))).await, "RULE_MATCHED");
    let other = Token::of(&hooked.db.db, Role::Admin).await;
    let caller = hooked.api.signed_in(&other.secret);
    caller.delete(&format!("/api/v1/tokens/{}", hooked.admin.id)).await.data("토큰이 취소되었습니다.");
    // Queued deployments end with the permission, as those of schedules do.
    let sql = "SELECT cancel_requested_at IS NOT NULL FROM deployments WHERE id = $1";
    let row = sqlx::query_scalar::<_, bool>(sql).bind(queued["deploymentId"].as_str());
    assert!(row.fetch_one(&mut hooked.db.psql().await).await.unwrap());
    let refused = received(&hooked.webhook.send("push", &push(&id('c'), &id('d'))).await, "PERMISSION_ENDED");
    assert_eq!(refused["decision"], "rejected");
    let path = format!("{PATH}/{}/deliveries?decision=rejected", hooked.id);
    let listed = caller.get(&path).await.data(super::LISTED);
    let reason = listed["deliveries"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("admin-test") && reason.contains("TOKEN_REVOKED"), "{reason}");

    caller.put(&format!("{PATH}/{}", hooked.id), &hooked.body).await.data("푸시 훅이 변경되었습니다.");
    let delivery = refused["deliveryId"].as_str().unwrap();
    let again = caller.post(&format!("{PATH}/{}/deliveries/{delivery}/redelivery", hooked.id), &json!({})).await;
    assert_eq!(again.data("푸시를 다시 판단했습니다.")["reasonCode"], "RULE_MATCHED");
    assert!(waiting["deploymentId"].is_string());
}

#[tokio::test]
async fn push_permission__removed_connection_is_named() {
    let hooked = Hooked::new().await;
    let github = hooked.body["rules"][0]["githubConnectionId"].as_str().unwrap();
    hooked.caller().delete(&format!("/api/v1/connections/{github}")).await;
    received(&hooked.webhook.send("push", &push(&id('a'), &id('b'))).await, "CONNECTION_REMOVED");
    let listed = hooked.deliveries().await;
    assert!(listed[0]["reason"].as_str().unwrap().contains(github), "{listed:?}");
    assert_eq!(hooked.deployments().await, 0);
}

#[tokio::test]
async fn push_permission__owner_may_not_approve_with_four_eyes() {
    let hooked = Hooked::new().await;
    let data = received(&hooked.webhook.send("push", &push(&id('a'), &id('b'))).await, "RULE_MATCHED");
    let deployment = data["deploymentId"].as_str().unwrap();
    let mut connection = hooked.db.psql().await;
    let found = panda::db::deployments::requests::starter(&mut connection, deployment).await.unwrap();
    assert_eq!(found.as_deref(), Some("admin-test"));
    hooked.caller().delete(&format!("{PATH}/{}", hooked.id)).await.data("푸시 훅이 삭제되었습니다.");
    let found = panda::db::deployments::requests::starter(&mut connection, deployment).await.unwrap();
    assert_eq!(found.as_deref(), Some("admin-test"), "also once the hook is deleted");
}
