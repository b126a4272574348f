//! Policies as resources. What they permit is tested with the deployments.

use panda::domain::deployment::Facts;
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::auth::{Token, serve};
use super::{Answer, Api, count, fixture};
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

/// A gate with one field changed.
fn gate(name: &str, value: Value) -> Value {
    let mut gate = json!({"name": "live", "at": "bake", "http": {"path": "/ready"}});
    gate[name] = value;
    json!({"gates": [{"name": "first", "at": "bake", "http": {"path": "/"}}, gate]})
}

#[tokio::test]
async fn policies__gates_are_shown_with_their_defaults() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let given = json!({"gates": [{"name": "green", "at": "before_switch", "times": 3, "http": {"path": "/ready", "contains": "up"}}],
                       "autoSwitch": "when_gates_pass"});
    let stored = api.put(PATH, &given).await.data(STORED);
    let expected = json!([{"name": "green", "at": "before_switch", "every": 30, "times": 3, "failures": 1, "noData": "wait", "onFail": "rollback",
                           "http": {"path": "/ready", "codes": "200-399", "contains": "up"}}]);
    assert_eq!((&stored["gates"], &stored["autoSwitch"]), (&expected, &json!("when_gates_pass")));
    assert_eq!(api.get(PATH).await.data(SHOWN)["versions"][0], stored);
    assert_eq!(api.put(PATH, &json!({})).await.data(STORED)["autoSwitch"], "never");
}

#[tokio::test]
async fn policies__gates_that_cannot_be_measured_are_refused() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let query = json!({"url": "http://127.0.0.1:9/", "query": "up", "max": 1});
    let mut with_secret = query.clone();
    with_secret["headers"] = json!({"Authorization": "prometheus"});
    let of = |check: &str, value: Value| json!({"gates": [{"name": "live", "at": "bake", check: value}]});
    let target = format!("{PATH}?accountId=123456789012&region=ap-northeast-2");
    for (path, body, field, said) in [
        (PATH, of("alarm", json!({"name": "5xx"})), "gates[0].alarm", "accountId"),
        (target.as_str(), of("alarm", json!({"name": "5xx"})), "gates[0].alarm", "connection"),
        (PATH, of("prometheus", query), "gates[0].prometheus.query", "cannot be measured now"),
        (PATH, of("prometheus", with_secret), "gates[0].prometheus.headers.Authorization", "prometheus"),
    ] {
        let problem = api.put(path, &body).await.problem(400, "INVALID_FIELD");
        assert_eq!(problem["field"], field, "{body}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{body}: {problem}");
    }
    assert_eq!(count(&db, "policies").await, 0);
}

#[tokio::test]
async fn policies__each_step_is_refused_for_targets_of_code_deploy() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let body = json!({"gates": [{"name": "live", "at": "each_step", "http": {"path": "/"}}]});
    let mut deployment = fixture::Fixture::begin(&db.db).await;
    deployment.learn(Facts { code_deploy_deployment_id: Some("d-1".to_owned()), ..Facts::default() }).await;
    assert_eq!(api.put(PATH, &body).await.refused_field("INVALID_FIELD"), "gates[0].at");
    let arn = "arn:aws:ecs:ap-northeast-2:123456789012:service-deployment/main/shop/1".to_owned();
    deployment.learn(Facts { service_deployment_arn: Some(arn), ..Facts::default() }).await;
    api.put(PATH, &body).await.data(STORED);
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
        (json!({"gate": []}), "gate", "windows"),
        (json!({"autoSwitch": "sometimes"}), "autoSwitch", "when_gates_pass"),
        (json!({"autoSwitch": "at 3:00"}), "autoSwitch", "at 03:00 Asia/Seoul"),
        (json!({"autoSwitch": "at 03:00 Mars"}), "autoSwitch", ""),
        (json!({"autoSwitch": "when_gates_pass"}), "autoSwitch", "before_switch"),
        (json!({"autoSwitch": "at 03:00 UTC", "approvals": {"fourEyes": true}}), "autoSwitch", "several approvers"),
        (gate("name", json!("first")), "gates[1].name", "unique"),
        (gate("name", json!("Live")), "gates[1].name", "40"),
        (gate("at", json!("later")), "gates[1].at", "each_step"),
        (gate("every", json!(1)), "gates[1].every", "3600"),
        (gate("times", json!(0)), "gates[1].times", "1000"),
        (gate("failures", json!(1_001)), "gates[1].failures", "1000"),
        (gate("noData", json!("ignore")), "gates[1].noData", "wait"),
        (gate("onFail", json!("stop")), "gates[1].onFail", "notify"),
        (gate("onFail", json!("pause")), "gates[1].onFail", "bake"),
        (gate("http", json!({"path": "ready"})), "gates[1].http.path", "/healthz"),
        (gate("http", json!({"path": "/", "codes": "99"})), "gates[1].http.codes", "200"),
        (gate("http", json!({"path": "/", "headers": {"Host": "x"}})), "gates[1].http.headers", "Host"),
        (gate("alarm", json!({"name": "5xx"})), "gates[1].alarm", "exactly one"),
        (gate("datadog", json!({})), "gates[1].datadog", "prometheus"),
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
