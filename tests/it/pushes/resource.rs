//! Push hooks as resources: who may create, see and change which.

use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::{CREATED, Hooked, PATH, SHOWN, rule};
use crate::http::Answer;
use crate::http::auth::{Token, serve};
use crate::support::db::TestDb;

#[tokio::test]
async fn push_hook__only_for_admins_of_their_repositories() {
    let hooked = Hooked::new().await;
    let (db, api) = (&hooked.db, &hooked.api);
    for role in [Role::Viewer, Role::Deployer, Role::Approver] {
        let token = Token::of(&db.db, role).await;
        token.post(api, PATH, &hooked.body).await.problem(403, "NOT_ALLOWED");
        token.get(api, PATH).await.problem(403, "NOT_ALLOWED");
    }
    let other = Token::scoped(&db.db, Role::Admin, &["acme/other"]).await;
    let problem = other.post(api, PATH, &hooked.body).await.problem(400, "INVALID_FIELD");
    assert_eq!(problem["field"], "rules[0].githubConnectionId");
    let path = format!("{PATH}/{}", hooked.id);
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::PUT, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/secret")),
        (Method::GET, format!("{path}/deliveries")),
        (Method::POST, format!("{path}/deliveries/72d3162e-cc78-11e3-81ab-4c9367dc0958/redelivery")),
    ] {
        let body = if path.ends_with("secret") { json!({}) } else { hooked.body.clone() };
        let asked = other.request(api, method.clone(), &path).json(&body).send().await.unwrap();
        Answer::of(asked).await.problem(404, "HOOK_NOT_FOUND");
    }
    assert_eq!(other.get(api, PATH).await.data("푸시 훅 목록 조회 성공"), json!({"hooks": []}));
    let shown = hooked.caller().get(&path).await.data(SHOWN);
    assert_eq!((&shown["repositories"], &shown["madeBy"]), (&json!(["acme/shop"]), &json!("admin-test")));
    assert_eq!(shown["rules"][0]["concurrency"], "supersede", "the default of pushes");
    assert!(!shown.to_string().contains(&hooked.webhook.secret));

    hooked.caller().delete(&path).await.data("푸시 훅이 삭제되었습니다.");
    hooked.caller().get(&path).await.problem(404, "HOOK_NOT_FOUND");
    hooked.webhook.send("ping", &super::github::ping()).await.problem(404, "HOOK_NOT_FOUND");
    let sql = "SELECT action FROM audit WHERE target = $1 AND result = 'done' ORDER BY id";
    let audited: Vec<String> = sqlx::query_scalar(sql).bind(&hooked.id).fetch_all(&mut db.psql().await).await.unwrap();
    assert_eq!(audited, ["hook.create", "hook.delete"]);
    let secrets: i64 =
        sqlx::query_scalar("SELECT count(*) FROM push_hook_secrets").fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(secrets, 0);
}

#[tokio::test]
async fn push_hook__invalid_fields_are_named() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let right = rule(&db.db, &json!({})).await;
    let with = |field: &str, value: Value| {
        let mut rule = right.clone();
        rule[field] = value;
        json!({"rules": [right.clone(), rule]})
    };
    for (body, field) in [
        (json!({"rules": []}), "rules"),
        (json!({"rules": vec![right.clone(); 51]}), "rules"),
        (json!({"rules": [right.clone()], "name": ""}), "name"),
        (with("branches", json!([])), "rules[1].branches"),
        (with("branches", json!(["/main"])), "rules[1].branches[0]"),
        (with("tags", json!(["v*", ""])), "rules[1].tags[1]"),
        (with("paths", json!(["!x"])), "rules[1].paths[0]"),
        (with("ignorePaths", json!(vec!["x"; 51])), "rules[1].ignorePaths"),
        (with("concurrency", json!("last")), "rules[1].concurrency"),
        (with("labels", json!({"Team": "x"})), "rules[1].labels"),
        (with("repo", json!("blog")), "rules[1].repo"),
        (with("awsConnectionId", json!("aws_none")), "rules[1].awsConnectionId"),
        (with("build", json!({"secrets": ["npm_token"]})), "rules[1].build.secrets[0]"),
    ] {
        let problem = admin.post(&api, PATH, &body).await.problem(400, "INVALID_FIELD");
        assert_eq!(problem["field"], field);
    }
    let made = admin.post(&api, PATH, &json!({"rules": [right]})).await.data(CREATED);
    let listed = admin.get(&api, PATH).await.data("푸시 훅 목록 조회 성공");
    assert_eq!(listed["hooks"], json!([made["hook"]]));
}
