//! Which events start a deployment, and the reason for each that does not.

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::github::{NONE, id, of, ping, pull_request, push, to_ref};
use super::{Hooked, received};

#[tokio::test]
async fn push__starts_a_deployment_of_its_commit() {
    let hooked = Hooked::with(json!({"labels": {"environment": "production"}, "kind": "hotfix"})).await;
    let answer = hooked.webhook.send("push", &push(&id('a'), &id('b'))).await;
    let data = received(&answer, "RULE_MATCHED");
    assert_eq!((&data["decision"], &data["repeated"]), (&json!("started"), &json!(false)));
    let deployment = data["deploymentId"].as_str().unwrap();
    let sql = "SELECT owner, repo, branch, reason, kind, concurrency, started_by, requested_labels ->> 'environment' FROM deployments WHERE id = $1";
    let row: (String, String, String, String, String, String, String, String) =
        sqlx::query_as(sql).bind(deployment).fetch_one(&mut hooked.db.psql().await).await.unwrap();
    let text = |text: &str| text.to_owned();
    let (commit, subject) = (format!("commit {}", id('b')), format!("hook:{}", hooked.id));
    let wanted = (text("acme"), text("shop"), commit, text("push to main"), text("hotfix"), text("supersede"));
    assert_eq!((row.0, row.1, row.2, row.3, row.4, row.5), wanted);
    assert_eq!((row.6, row.7), (subject.clone(), text("production")));
    let who: (String, String, String) =
        sqlx::query_as("SELECT subject, kind, role FROM audit WHERE target = $1 AND action = 'deploy'")
            .bind(deployment)
            .fetch_one(&mut hooked.db.psql().await)
            .await
            .unwrap();
    assert_eq!(who, (subject, text("hook"), text("deployer")));
    let listed = hooked.deliveries().await;
    assert_eq!(
        (&listed[0]["ref"], &listed[0]["commit"], &listed[0]["repository"], &listed[0]["deploymentId"]),
        (&json!("refs/heads/main"), &json!(id('b')), &json!("acme/shop"), &data["deploymentId"])
    );
    assert_eq!(listed[0]["reason"], "Rule 1 of the hook matches.");
}

#[tokio::test]
async fn push__ignored_with_the_exact_reason() {
    let hooked = Hooked::with(json!({"tags": ["v*"], "paths": ["src/**"], "ignorePaths": ["**/*.md"]})).await;
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut payload = push(&id('a'), &id('b'));
        change(&mut payload);
        payload
    };
    let deleted = |payload: &mut Value| {
        (payload["after"], payload["deleted"]) = (json!(NONE), json!(true));
        (payload["commits"], payload["head_commit"]) = (json!([]), json!(null));
    };
    for (event, payload, reason) in [
        ("ping", ping(), "PING"),
        ("pull_request", pull_request("mallory/shop"), "PULL_REQUEST_FROM_FORK"),
        ("pull_request", pull_request("acme/shop"), "PULL_REQUEST"),
        ("issues", json!({"action": "opened"}), "EVENT_NOT_PUSH"),
        ("push", changed(&deleted), "BRANCH_DELETED"),
        ("push", to_ref(changed(&deleted), "refs/tags/v1"), "TAG_DELETED"),
        ("push", changed(&|push| of(&mut push["repository"], "mallory", "shop")), "REPOSITORY_WITHOUT_RULE"),
        ("push", to_ref(push(NONE, &id('b')), "refs/heads/dev"), "REF_NOT_MATCHED"),
        ("push", to_ref(push(NONE, &id('b')), "refs/tags/x1"), "REF_NOT_MATCHED"),
        ("push", to_ref(push(NONE, &id('b')), "refs/notes/x"), "REF_NOT_BRANCH_OR_TAG"),
        (
            "push",
            changed(&|push| (push["before"], push["commits"]) = (json!(NONE), json!([]))),
            "BRANCH_WITHOUT_COMMITS",
        ),
        ("push", changed(&|push| push["commits"][0]["added"] = json!(["src/a.md", "x"])), "PATHS_NOT_MATCHED"),
    ] {
        let data = received(&hooked.webhook.send(event, &payload).await, reason);
        assert_eq!((&data["decision"], &data["deploymentId"]), (&json!("ignored"), &json!(null)));
    }
    assert_eq!(hooked.deployments().await, 0);
    let listed = hooked.deliveries().await;
    assert_eq!(listed.len(), 12);
    assert!(listed.iter().all(|one| one["reason"].as_str().unwrap().ends_with(['.', '!'])), "{listed:?}");

    // A list of paths that may be incomplete leaves nothing out.
    let forced = changed(&|push| (push["forced"], push["commits"][0]["added"]) = (json!(true), json!(["x"])));
    received(&hooked.webhook.send("push", &forced).await, "PATHS_UNDECIDED");
    let mut tag = to_ref(push(NONE, &id('c')), "refs/tags/v1");
    (tag["commits"], tag["after"]) = (json!([]), json!(id('d')));
    let data = received(&hooked.webhook.send("push", &tag).await, "RULE_MATCHED");
    let source: String = sqlx::query_scalar("SELECT branch FROM deployments WHERE id = $1")
        .bind(data["deploymentId"].as_str())
        .fetch_one(&mut hooked.db.psql().await)
        .await
        .unwrap();
    assert_eq!(source, format!("commit {}", id('c')), "the commit of an annotated tag, not the tag's object");
}

#[tokio::test]
async fn push__disabled_hook_starts_after_a_redelivery() {
    let hooked = Hooked::new().await;
    hooked.change(&json!({"enabled": false})).await;
    let data = received(&hooked.webhook.send("push", &push(&id('a'), &id('b'))).await, "HOOK_DISABLED");
    let delivery = data["deliveryId"].as_str().unwrap();
    hooked.change(&json!({"enabled": true})).await;
    let again = hooked.redeliver(delivery).await.data("푸시를 다시 판단했습니다.");
    assert_eq!((&again["reasonCode"], &again["attempts"]), (&json!("RULE_MATCHED"), &json!(2)));
    let problem = hooked.redeliver(delivery).await.problem(409, "PUSH_DELIVERY_STARTED");
    assert!(problem["detail"].as_str().unwrap().contains(again["deploymentId"].as_str().unwrap()));
    assert_eq!(hooked.deployments().await, 1);
    let audited: String =
        sqlx::query_scalar("SELECT details ->> 'deployment' FROM audit WHERE action = 'hook.redeliver'")
            .fetch_one(&mut hooked.db.psql().await)
            .await
            .unwrap();
    assert_eq!(json!(audited), again["deploymentId"]);
}
