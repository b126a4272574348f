//! Roles connected with a caller-supplied external id, from before Panda derived them: running deployments finish, new ones are refused.

use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::json;

use super::aws::{MESSAGE, PATH, env};
use crate::http::{Answer, Api, Fixture, fixture};

#[tokio::test]
async fn outdated_role__starts_nothing_until_renewed() {
    let env = env().await;
    let role = format!("arn:aws:iam::{}:role/panda", env.sandbox.user_account_id());
    let id = env.api.post(PATH, &json!({"region": "ap-northeast-2", "roleArn": role})).await;
    let id = id.problem(409, "AWS_ROLE_NOT_TRUSTING")["externalId"].as_str().unwrap().to_owned();
    let (github, aws) = fixture::connections(&env.db.db).await;
    let deploy = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"});
    let schedule = json!({"cron": "0 0 1 1 *", "timeZone": "UTC", "deploy": deploy});
    let schedule = env.api.post("/api/v1/schedules", &schedule).await.json()["data"]["scheduleId"].clone();
    let mut failed = Fixture::begin(&env.db.db).await;
    failed.fail().await;
    let as_before = "UPDATE aws_connections SET external_id_derived = false, account_id = $1, role_arn = $2";
    let account = env.sandbox.user_account_id();
    sqlx::query(as_before).bind(account).bind(&role).execute(&mut env.db.psql().await).await.unwrap();

    let listed = async |api: &Api| {
        let all = api.get("/api/v1/connections").await.json()["data"]["aws"].clone();
        all.as_array().unwrap().iter().find(|one| one["connectionId"] == aws).unwrap().clone()
    };
    let problem = listed(&env.api).await["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains(&format!("PUT /api/v1/connect/aws/{aws}")), "{problem}");
    let answer = env.api.post("/api/v1/deploy", &deploy).await;
    assert!(answer.problem(409, "CONNECTION_OUTDATED")["message"].as_str().unwrap().contains("--renew"));
    let run = format!("/api/v1/schedules/{}/run", schedule.as_str().unwrap());
    env.api.post(&run, &json!({})).await.problem(409, "CONNECTION_OUTDATED");
    let retry = format!("/api/v1/deploy/{}/retry", failed.id());
    env.api.post(&retry, &json!({})).await.problem(409, "CONNECTION_OUTDATED");
    let due = "UPDATE schedules SET next_run_at = now()";
    sqlx::query(due).execute(&mut env.db.psql().await).await.unwrap();
    let names = panda::domain::names::Names::default();
    let starter = panda::commands::deploy::Starter { names: &names, first_step: "ensure_event_rule" };
    let sign_in = panda::domain::permission::SignIn::default();
    panda::commands::schedules::run_due::run_due(&env.db.db, starter, &sign_in).await.unwrap().unwrap();
    let runs = env.api.get(&format!("/api/v1/schedules/{}/runs", schedule.as_str().unwrap())).await;
    assert!(runs.text.contains("CONNECTION_OUTDATED"), "{}", runs.text);

    let path = format!("{PATH}/{aws}");
    let put = async |role: &str| {
        let body = json!({"roleArn": role});
        Answer::of(env.api.request(Method::PUT, &path).json(&body).send().await.unwrap()).await
    };
    assert_eq!(put(&role).await.problem(409, "AWS_ROLE_NOT_TRUSTING")["externalId"], id);
    env.sandbox.put_role_for(&role, &id);
    assert_eq!(put(&role).await.data(MESSAGE)["externalId"], id);
    assert!(listed(&env.api).await["problem"].is_null());
    assert_eq!(env.api.post(&run, &json!({})).await.status, 200);
}
