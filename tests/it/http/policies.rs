//! Policies as resources. What they permit is tested with the deployments.

use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::auth::{Token, serve};
use super::{Answer, Api, count};
use crate::support::db::TestDb;

const PATH: &str = "/api/v1/policies/acme/shop";
const STORED: &str = "정책이 저장되었습니다.";
const SHOWN: &str = "정책 조회 성공";

async fn versions(by: &Token, api: &Api, path: &str) -> Vec<Value> {
    by.get(api, path).await.data(SHOWN)["versions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn policies__versions_are_kept_by_target() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::scoped(&db.db, Role::Admin, &["acme/shop"]).await;
    assert_eq!(versions(&admin, &api, PATH).await, Vec::<Value>::new());
    let first = json!({"windows": [{"cron": "0 9 * * MON-FRI", "timeZone": "Asia/Seoul", "minutes": 480, "permits": "switches"}],
                       "approvals": {"count": 2, "fourEyes": true, "minutes": 60}});
    let stored = admin.put(&api, "/api/v1/policies/Acme/Shop", &first).await.data(STORED);
    assert_eq!((&stored["version"], &stored["createdBy"]), (&json!(1), &json!("admin-test")));
    assert_eq!((&stored["windows"], &stored["approvals"]), (&first["windows"], &first["approvals"]));
    assert_eq!(admin.put(&api, PATH, &first).await.data(STORED), stored, "an equal one is no new version");
    let second = admin.put(&api, PATH, &json!({})).await.data(STORED);
    assert_eq!((&second["version"], &second["approvals"]["count"]), (&json!(2), &json!(1)));
    assert_eq!(versions(&admin, &api, PATH).await, [second, stored], "the newest first");
    let target = format!("{PATH}?accountId=123456789012&region=ap-northeast-2");
    assert_eq!(admin.put(&api, &target, &first).await.data(STORED)["version"], json!(1), "each target has its own");
    assert_eq!((versions(&admin, &api, &target).await.len(), versions(&admin, &api, PATH).await.len()), (1, 2));
    let sql = "SELECT count(*) FROM audit WHERE action = 'policy.set' AND owner = 'acme' AND repo = 'shop'";
    assert_eq!(sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut db.psql().await).await.unwrap(), 3);
}

#[tokio::test]
async fn policies__only_admins_of_the_repository_store_one() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    for role in [Role::Viewer, Role::Deployer, Role::Approver] {
        let token = Token::of(&db.db, role).await;
        token.put(&api, PATH, &json!({})).await.problem(403, "NOT_ALLOWED");
        assert!(versions(&token, &api, PATH).await.is_empty());
    }
    let other = Token::scoped(&db.db, Role::Admin, &["acme/toys"]).await;
    other.put(&api, PATH, &json!({})).await.problem(403, "OUT_OF_SCOPE");
    assert!(versions(&other, &api, PATH).await.is_empty());
    assert_eq!(count(&db, "policies").await, 0);
}

#[tokio::test]
async fn policies__invalid_fields_named_with_bounds() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let window = |name: &str, value: Value| {
        let mut window = json!({"cron": "0 9 * * *", "minutes": 60});
        window[name] = value;
        json!({"windows": [{"cron": "0 9 * * *", "minutes": 60}, window]})
    };
    let many = json!({"windows": vec![json!({"cron": "0 9 * * *", "minutes": 60}); 21]});
    for (body, field, bound) in [
        (window("cron", json!("0 9 * *")), "windows[1].cron", "5 fields"),
        (window("timeZone", json!("Mars")), "windows[1].timeZone", ""),
        (window("minutes", json!(0)), "windows[1].minutes", "10080"),
        (window("minutes", json!(10_081)), "windows[1].minutes", "10080"),
        (window("minutes", json!(-1)), "windows[1].minutes", "u32"),
        (window("permits", json!("builds")), "windows[1].permits", "starts, switches or both"),
        (window("days", json!(1)), "windows[1].days", "cron"),
        (many, "windows", "20"),
        (json!({"approvals": {"count": 0}}), "approvals.count", "10"),
        (json!({"approvals": {"count": 11}}), "approvals.count", "10"),
        (json!({"approvals": {"minutes": 0}}), "approvals.minutes", "10080"),
        (json!({"approvals": {"by": "bob"}}), "approvals.by", "count"),
        (json!({"gates": []}), "gates", "windows"),
        (json!({"autoSwitch": "never"}), "autoSwitch", "windows"),
        // All callers are one where no caller signs in.
        (json!({"approvals": {"count": 2}}), "approvals.count", "sign in"),
        (json!({"approvals": {"fourEyes": true}}), "approvals.fourEyes", "sign in"),
    ] {
        let problem = api.put(PATH, &body).await.problem(400, "INVALID_FIELD");
        assert_eq!(problem["field"], field, "{body}");
        assert!(problem["detail"].as_str().unwrap().contains(bound), "{body}: {problem}");
    }
    for (path, field) in [
        ("/api/v1/policies/-/shop", "owner"),
        ("/api/v1/policies/acme/a%20b", "repo"),
        ("/api/v1/policies/acme/shop?accountId=123456789012", "accountId"),
        ("/api/v1/policies/acme/shop?region=eu-west-1", "region"),
        ("/api/v1/policies/acme/shop?accountId=1&region=eu-west-1", "accountId"),
        ("/api/v1/policies/acme/shop?accountId=123456789012&region=mars", "region"),
        ("/api/v1/policies/acme/shop?account=1", "account"),
    ] {
        assert_eq!(api.put(path, &json!({})).await.refused_field("INVALID_FIELD"), field, "{path}");
        assert_eq!(api.get(path).await.refused_field("INVALID_FIELD"), field, "{path}");
    }
    assert_eq!(count(&db, "policies").await, 0);
    let plain = Answer::of(api.request(Method::PUT, PATH).body("{}").send().await.unwrap()).await;
    plain.problem(415, "UNSUPPORTED_MEDIA_TYPE");
}
