//! The role for the target of an account's rules: given with a connection, or created.

use panda::domain::connection::TargetRoleRequest;
use panda_sandbox::{CallFault, Faults};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::aws::{AwsApi, MESSAGE, PATH, env};
use crate::http::count;

const SHOWN: &str = "이벤트 규칙의 역할을 조회했습니다.";
const READY: &str = "이벤트 규칙의 역할이 준비되었습니다.";
const POLICY: &str = "panda-put-events";

async fn connected(env: &AwsApi) -> String {
    let data = env.api.post(PATH, &env.keys(&json!({}))).await.data(MESSAGE);
    data["awsConnectionId"].as_str().unwrap().to_owned()
}

async fn stored(env: &AwsApi, id: &str) -> Option<String> {
    env.db.db.aws_connection(id).await.unwrap().unwrap().rule_target_role_arn
}

fn of(id: &str) -> String {
    format!("{PATH}/{id}/rule-role")
}

/// Calls that took effect.
fn calls(env: &AwsApi, name: &str) -> u32 {
    env.sandbox.all_effects().calls.get(name).map_or(0, |count| count.succeeded)
}

fn fault(call: &str, fault: CallFault) -> Faults {
    Faults { calls: [(call.to_owned(), fault)].into(), ..Faults::default() }
}

#[tokio::test]
async fn rule_target_role__must_belong_to_connected_account() {
    let env = env().await;
    for role in [
        "events",
        "arn:aws:iam::1:role/x",
        "arn:aws:iam::111122223333:role/events",
        "arn:aws-cn:iam::210987654321:role/events",
        "arn:aws:sts::210987654321:assumed-role/events/x",
    ] {
        let answer = env.api.post(PATH, &env.keys(&json!({"ruleTargetRoleArn": role}))).await;
        assert_eq!(answer.refused_field("INVALID_FIELD"), "ruleTargetRoleArn", "{role}");
    }
    assert_eq!(count(&env.db, "aws_connections").await, 0);
    let id = connected(&env).await;
    let other = env.keys(&json!({"ruleTargetRoleArn": "arn:aws:iam::111122223333:role/events"}));
    let answer = env.api.put(&format!("{PATH}/{id}"), &other).await;
    assert_eq!(answer.refused_field("INVALID_FIELD"), "ruleTargetRoleArn");
    assert!(
        answer.text.contains("111122223333") && answer.text.contains(env.sandbox.user_account_id()),
        "{}",
        answer.text
    );
    assert_eq!(stored(&env, &id).await, None);
}

#[tokio::test]
async fn rule_target_role__kept_replaced_and_removed() {
    let env = env().await;
    let role = |name: &str| format!("arn:aws:iam::{}:role/{name}", env.sandbox.user_account_id());
    let given = env.keys(&json!({"ruleTargetRoleArn": role("one")}));
    let id = env.api.post(PATH, &given).await.data(MESSAGE)["awsConnectionId"].as_str().unwrap().to_owned();
    assert_eq!(stored(&env, &id).await, Some(role("one")));
    let listed = env.api.get("/api/v1/connections").await.json();
    assert_eq!(listed["data"]["aws"][0]["ruleTargetRoleArn"], role("one"));

    let path = format!("{PATH}/{id}");
    assert_eq!(env.api.put(&path, &env.keys(&json!({}))).await.status, 200);
    assert_eq!(connected(&env).await, id, "the same identity renews the connection");
    assert_eq!(stored(&env, &id).await, Some(role("one")), "an absent field keeps the role");
    assert_eq!(env.api.put(&path, &env.keys(&json!({"ruleTargetRoleArn": role("two")}))).await.status, 200);
    assert_eq!(stored(&env, &id).await, Some(role("two")));
    assert_eq!(env.api.put(&path, &env.keys(&json!({"ruleTargetRoleArn": null}))).await.status, 200);
    assert_eq!(stored(&env, &id).await, None);
    let listed = env.api.get("/api/v1/connections").await.json();
    assert!(listed["data"]["aws"][0].get("ruleTargetRoleArn").is_none(), "{listed}");
    assert_eq!(TargetRoleRequest::default(), TargetRoleRequest::Keep);
}

#[tokio::test]
async fn rule_role__shown_then_created_once_with_least_privilege() {
    let env = env().await;
    let id = connected(&env).await;
    let account = env.sandbox.user_account_id();
    let planned = env.api.get(&of(&id)).await.data(SHOWN);
    assert_eq!((&planned["state"], calls(&env, "iam:CreateRole")), (&json!("absent"), 0), "showing it changes nothing");
    let arn = planned["roleArn"].as_str().unwrap();
    assert!(arn.starts_with(&format!("arn:aws:iam::{account}:role/panda-events-")), "{arn}");

    let created = env.api.post(&of(&id), &Value::Null).await.data(READY);
    let mut as_planned = created.clone();
    as_planned["state"] = planned["state"].clone();
    assert_eq!(as_planned, planned);
    let (trust, policy) = env.sandbox.role(arn, POLICY);
    assert_eq!(trust, Some(planned["trustPolicy"].clone()));
    let allowed = json!([{"Effect": "Allow", "Action": "events:PutEvents", "Resource": env.sandbox.bus_arn()}]);
    assert_eq!(policy.unwrap()["Statement"], allowed);
    let trusted = &planned["trustPolicy"]["Statement"][0];
    assert_eq!(trusted["Principal"], json!({"Service": "events.amazonaws.com"}));
    assert_eq!(trusted["Condition"]["StringEquals"]["aws:SourceAccount"], account);
    assert_eq!(stored(&env, &id).await.as_deref(), Some(arn));

    assert_eq!(env.api.get(&of(&id)).await.data(SHOWN)["state"], "present");
    assert_eq!(env.api.post(&of(&id), &Value::Null).await.data(READY)["state"], "present");
    assert_eq!((calls(&env, "iam:CreateRole"), calls(&env, "iam:PutRolePolicy")), (1, 1));
    let sql = "SELECT count(*) FROM audit WHERE action = 'connection.create_role' AND result = 'done' AND target = $1";
    let audited: i64 = sqlx::query_scalar(sql).bind(&id).fetch_one(&mut env.db.psql().await).await.unwrap();
    assert_eq!(audited, 2);
}

#[tokio::test]
async fn rule_role__interrupted_creation_completed() {
    let env = env().await;
    let id = connected(&env).await;
    let fails = CallFault { fail: 10, ..CallFault::default() };
    env.sandbox.faults().set(fault("iam:PutRolePolicy", fails));
    env.api.post(&of(&id), &Value::Null).await.problem(502, "AWS_UNAVAILABLE");
    assert_eq!(stored(&env, &id).await, None);
    env.sandbox.faults().clear();
    assert_eq!(env.api.post(&of(&id), &Value::Null).await.data(READY)["state"], "incomplete");
    assert_eq!(env.api.get(&of(&id)).await.data(SHOWN)["state"], "present");
    assert!(stored(&env, &id).await.is_some());
}

#[tokio::test]
async fn rule_role__other_content_not_overwritten() {
    let env = env().await;
    let id = connected(&env).await;
    let arn = env.api.get(&of(&id)).await.data(SHOWN)["roleArn"].as_str().unwrap().to_owned();
    let theirs = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ]});
    env.sandbox.put_role(&arn, &theirs);
    assert_eq!(env.api.get(&of(&id)).await.data(SHOWN)["state"], "differs");
    let refused = env.api.post(&of(&id), &Value::Null).await;
    refused.problem(409, "AWS_RULE_ROLE_DIFFERS");
    assert!(refused.text.contains(&arn), "{}", refused.text);
    assert_eq!(env.sandbox.role(&arn, POLICY), (Some(theirs), None));
    assert_eq!(stored(&env, &id).await, None);
}

#[tokio::test]
async fn rule_role__denied_names_permissions() {
    let env = env().await;
    let id = connected(&env).await;
    let denied = CallFault { deny: true, ..CallFault::default() };
    env.sandbox.faults().set(fault("iam:CreateRole", denied));
    let refused = env.api.post(&of(&id), &Value::Null).await;
    refused.problem(409, "AWS_RULE_ROLE_REFUSED");
    assert!(refused.text.contains("iam:CreateRole") && refused.text.contains("ruleTargetRoleArn"), "{}", refused.text);
    env.api.post(&of("aws_unknown"), &Value::Null).await.problem(404, "CONNECTION_NOT_FOUND");
    env.api.get(&of("aws_unknown")).await.problem(404, "CONNECTION_NOT_FOUND");
}
