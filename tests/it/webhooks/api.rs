//! Webhooks as resources: who may create, see and change which.

use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::PATH;
use crate::http::Answer;
use crate::http::auth::{Token, serve};
use crate::support::db::TestDb;

const CREATED: &str = "웹훅이 생성되었습니다.";
const LISTED: &str = "웹훅 목록 조회 성공";

fn of(repositories: &[&str]) -> Value {
    json!({"url": "https://hooks.example.com/x", "repositories": repositories})
}

#[tokio::test]
async fn webhooks_api__only_for_admins_of_their_repositories() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let everything = json!({"url": "https://hooks.example.com/x"});
    for role in [Role::Viewer, Role::Deployer, Role::Approver] {
        let token = Token::of(&db.db, role).await;
        token.post(&api, PATH, &everything).await.problem(403, "NOT_ALLOWED");
        token.get(&api, PATH).await.problem(403, "NOT_ALLOWED");
    }
    let admin = Token::of(&db.db, Role::Admin).await;
    let shop = Token::scoped(&db.db, Role::Admin, &["acme/shop"]).await;
    shop.post(&api, PATH, &everything).await.problem(403, "OUT_OF_SCOPE");
    shop.post(&api, PATH, &of(&["acme/*"])).await.problem(403, "OUT_OF_SCOPE");
    let all = admin.post(&api, PATH, &everything).await.data(CREATED)["webhook"].clone();
    let mine = shop.post(&api, PATH, &of(&["Acme/Shop"])).await.data(CREATED)["webhook"].clone();
    assert_eq!(mine["repositories"], json!(["acme/shop"]));
    assert_eq!(admin.get(&api, PATH).await.data(LISTED)["webhooks"], json!([all, mine]));
    assert_eq!(shop.get(&api, PATH).await.data(LISTED)["webhooks"], json!([mine]));

    let hidden = format!("{PATH}/{}", all["webhookId"].as_str().unwrap());
    shop.get(&api, &hidden).await.problem(404, "WEBHOOK_NOT_FOUND");
    let ask = async |by: &Token, method: Method, path: &str, body: Value| {
        Answer::of(by.request(&api, method, path).json(&body).send().await.unwrap()).await
    };
    for (method, path) in [
        (Method::PUT, hidden.clone()),
        (Method::DELETE, hidden.clone()),
        (Method::POST, format!("{hidden}/test")),
        (Method::POST, format!("{hidden}/secret")),
        (Method::GET, format!("{hidden}/deliveries")),
        (Method::POST, format!("{hidden}/deliveries/01970000-0000-7000-8000-000000000000/replay")),
    ] {
        let body = if method == Method::PUT { of(&["acme/shop"]) } else { json!({}) };
        ask(&shop, method, &path, body).await.problem(404, "WEBHOOK_NOT_FOUND");
    }
    let own = format!("{PATH}/{}", mine["webhookId"].as_str().unwrap());
    ask(&shop, Method::PUT, &own, everything.clone()).await.problem(403, "OUT_OF_SCOPE");
    let unknown = format!("{own}/deliveries/01970000-0000-7000-8000-000000000000/replay");
    ask(&shop, Method::POST, &unknown, json!({})).await.problem(404, "DELIVERY_NOT_FOUND");
    let disabled = ask(
        &shop,
        Method::PUT,
        &own,
        json!({"url": "https://hooks.example.com/y", "repositories": ["acme/shop"], "enabled": false}),
    );
    let disabled = disabled.await.data("웹훅이 변경되었습니다.");
    assert_eq!((&disabled["enabled"], &disabled["disabledReason"]), (&json!(false), &json!("caller")));
    ask(&shop, Method::DELETE, &own, json!({})).await.data("웹훅이 삭제되었습니다.");
    shop.get(&api, &own).await.problem(404, "WEBHOOK_NOT_FOUND");
    let sql = "SELECT action FROM audit WHERE target = $1 AND result = 'done' ORDER BY id";
    let audited: Vec<String> =
        sqlx::query_scalar(sql).bind(mine["webhookId"].as_str()).fetch_all(&mut db.psql().await).await.unwrap();
    assert_eq!(audited, ["webhook.create", "webhook.change", "webhook.delete"]);
}

#[tokio::test]
async fn webhooks_api__invalid_fields_are_named() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    for (field, value) in [
        ("url", json!("hooks.example.com")),
        ("url", json!("https://me:secret@hooks.example.com/")),
        ("url", json!("file:///etc/passwd")),
        ("description", json!("")),
        ("events", json!([])),
        ("events", json!(["finished"])),
        ("repositories", json!(["acme"])),
        ("labels", json!({"Environment": "production"})),
        ("labels.environment", json!({"environment": ""})),
        ("language", json!("fr")),
    ] {
        let mut body = json!({"url": "https://hooks.example.com/x"});
        body[field.split('.').next().unwrap()] = value;
        let problem = admin.post(&api, PATH, &body).await.problem(400, "INVALID_FIELD");
        assert_eq!(problem["field"], field);
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    let many = "INSERT INTO receivers (id, settings, lang, key_id, wrapped_key, created_by)
                SELECT 'whk_' || n, '{\"kind\":\"webhook\",\"url\":\"https://hooks.example.com/\"}', 'ko', 'k', '', 'x' FROM generate_series(1, 100) AS n";
    sqlx::query(many).execute(&mut db.psql().await).await.unwrap();
    let body = json!({"url": "https://hooks.example.com/x"});
    admin.post(&api, PATH, &body).await.problem(409, "TOO_MANY_WEBHOOKS");
}
