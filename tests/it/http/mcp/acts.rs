//! The tools that act: off by default, as the role permits, and never approving what their caller started.

use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use sqlx::Executor as _;

use super::{acting, answered, refused};
use crate::http::auth::{Token, serve};
use crate::http::{Api, ExternalServices, count, fixture};
use crate::support::db::TestDb;

async fn body(db: &TestDb) -> Value {
    let (github, aws) = fixture::connections(&db.db).await;
    json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"})
}

fn id(answer: &Value) -> String {
    answer["data"]["deploymentId"].as_str().unwrap().to_owned()
}

/// Makes a deployment ready for the switch to an image.
async fn make_ready(db: &TestDb, id: &str) {
    let ready = format!(
        "UPDATE deployments SET status = 'DEPLOYMENT_READY', ready_at = now(), facts = facts || '{{\"image_digest\": \"sha256:a\"}}' WHERE id = '{id}'"
    );
    db.psql().await.execute(sqlx::AssertSqlSafe(ready)).await.unwrap();
}

#[tokio::test]
async fn mcp_actions__off_by_default() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let error = refused(&api, &admin, "deploy", body(&db).await, "MCP_ACTIONS_OFF").await;
    assert_eq!(error["status"], 403);
    assert!(error["detail"].as_str().unwrap().contains("PANDA_MCP_ACTIONS"));
    for tool in ["cancel", "switch"] {
        refused(&api, &admin, tool, json!({"deploymentId": "dep_x", "imageDigest": "sha256:a"}), "MCP_ACTIONS_OFF")
            .await;
    }
    assert_eq!(count(&db, "deployments").await, 0);
}

#[tokio::test]
async fn mcp_actions__as_role_and_scope_permit() {
    let db = TestDb::new().await;
    let api = acting(&db).await;
    let (viewer, deployer) = (Token::of(&db.db, Role::Viewer).await, Token::of(&db.db, Role::Deployer).await);
    let body = body(&db).await;
    refused(&api, &viewer, "deploy", body.clone(), "NOT_ALLOWED").await;
    let foreign = Token::scoped(&db.db, Role::Admin, &["other/web"]).await;
    refused(&api, &foreign, "deploy", body.clone(), "INVALID_FIELD").await;
    let mut forced = body.clone();
    forced["override"] = json!({"reason": "now"});
    assert_eq!(refused(&api, &deployer, "deploy", forced, "INVALID_FIELD").await["field"], "override");
    assert_eq!(count(&db, "deployments").await, 0);

    let mut keyed = body.clone();
    keyed["idempotencyKey"] = json!("call-1");
    let made = answered(&api, &deployer, "deploy", keyed.clone()).await;
    assert_eq!(made["data"]["status"], "RUNNING");
    assert_eq!(
        answered(&api, &deployer, "deploy", keyed.clone()).await["data"],
        made["data"],
        "a repetition starts nothing"
    );
    keyed["idempotencyKey"] = json!("é");
    refused(&api, &deployer, "deploy", keyed, "INVALID_FIELD").await;
    refused(&api, &deployer, "deploy", body, "TARGET_TAKEN").await;
    assert_eq!(count(&db, "deployments").await, 1);

    let one = json!({"deploymentId": id(&made)});
    refused(&api, &viewer, "cancel", one.clone(), "NOT_ALLOWED").await;
    refused(&api, &foreign, "cancel", one.clone(), "DEPLOYMENT_NOT_FOUND").await;
    refused(&api, &deployer, "switch", json!({"deploymentId": id(&made), "imageDigest": "sha256:a"}), "NOT_ALLOWED")
        .await;
    assert_eq!(answered(&api, &deployer, "cancel", one).await["data"]["cancelStatus"], "IN_PROGRESS");
    assert!(db.db.deployment(&id(&made)).await.unwrap().unwrap().cancel_requested_at.is_some());
}

#[tokio::test]
async fn mcp_switch__never_by_the_caller_who_deployed() {
    let db = TestDb::new().await;
    // The server itself lets a caller approve a deployment that they started.
    let api = acting(&db).await;
    let (agent, other) = (Token::of(&db.db, Role::Approver).await, Token::of(&db.db, Role::Admin).await);
    let made = answered(&api, &agent, "deploy", body(&db).await).await;
    let ready = json!({"deploymentId": id(&made), "imageDigest": "sha256:a"});
    refused(&api, &other, "switch", ready.clone(), "SWITCH_NOT_READY").await;
    make_ready(&db, &id(&made)).await;
    refused(&api, &agent, "switch", ready.clone(), "APPROVER_STARTED_IT").await;
    // Another token of the same name is the same caller.
    let again = Token::of(&db.db, Role::Approver).await;
    refused(&api, &again, "switch", ready.clone(), "APPROVER_STARTED_IT").await;
    assert!(db.db.deployment(&id(&made)).await.unwrap().unwrap().switch_requested_at.is_none());
    let field =
        refused(&api, &other, "switch", json!({"deploymentId": id(&made)}), "INVALID_FIELD").await["field"].clone();
    assert_eq!(field, "imageDigest", "the reviewed image must be named");
    let changed = json!({"deploymentId": id(&made), "imageDigest": "sha256:b"});
    refused(&api, &other, "switch", changed, "IMAGE_CHANGED").await;
    assert_eq!(answered(&api, &other, "switch", ready).await["data"]["switchStatus"], "IN_PROGRESS");
}

#[tokio::test]
async fn mcp_switch__also_not_what_was_started_elsewhere() {
    let db = TestDb::new().await;
    let api = acting(&db).await;
    let agent = Token::of(&db.db, Role::Approver).await;
    let made = agent.post(&api, "/api/v1/deploy", &body(&db).await).await.data("배포가 시작되었습니다.");
    let made = made["deploymentId"].as_str().unwrap();
    make_ready(&db, made).await;
    let ready = json!({"deploymentId": made, "imageDigest": "sha256:a"});
    refused(&api, &agent, "switch", ready, "APPROVER_STARTED_IT").await;
    let switch = format!("/api/v1/deploy/{made}/switch");
    assert_eq!(agent.post(&api, &switch, &json!({})).await.status, 200, "the API follows the server's setting");
}

#[tokio::test]
async fn mcp_switch__refused_without_authentication() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--no-auth", "--mcp-actions"]).await;
    let anyone = Token { id: String::new(), secret: "none".to_owned() };
    let made = answered(&api, &anyone, "deploy", body(&db).await).await;
    make_ready(&db, &id(&made)).await;
    let ready = json!({"deploymentId": id(&made), "imageDigest": "sha256:a"});
    refused(&api, &anyone, "switch", ready, "MCP_SWITCH_NEEDS_SIGN_IN").await;
}
