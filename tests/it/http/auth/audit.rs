//! Each change is recorded together with its actor, and the record is immutable.

use panda::commands::tokens::revoke_token;
use panda::domain::principal::{Caller, Role};
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use super::{Token, serve};
use crate::http::{Answer, Api, ExternalServices, Fixture, count, fixture, unreachable_db};
use crate::support::db::TestDb;

const MESSAGE: &str = "감사 기록 조회 성공";

async fn entries(api: &Api, token: &Token, query: &str) -> Vec<Value> {
    let page = token.get(api, &format!("/api/v1/audit{query}")).await.data(MESSAGE);
    page["entries"].as_array().unwrap().clone()
}

async fn body(db: &TestDb, repo: &str) -> Value {
    let github = fixture::github_connection(&db.db, "acme", repo).await;
    let aws = fixture::aws_connection(&db.db).await;
    json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": repo, "branch": "main"})
}

#[tokio::test]
async fn audit__records_actor_address_and_request() {
    let db = TestDb::new().await;
    let flags = ["--auth=required", "--trusted-proxies=127.0.0.0/8"];
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &flags).await;
    let (admin, deployer) = (Token::of(&db.db, Role::Admin).await, Token::of(&db.db, Role::Deployer).await);
    let body = body(&db, "shop").await;
    let request = deployer.request(&api, Method::POST, "/api/v1/deploy").json(&body);
    let request = request.header("x-request-id", "trace-7").header("x-forwarded-for", "2001:db8::7");
    let answer = Answer::of(request.send().await.unwrap()).await;
    let id = answer.data("배포가 시작되었습니다.")["deploymentId"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("x-request-id"), "trace-7");

    let kept = entries(&api, &admin, &format!("?target={id}")).await;
    let mut expected = json!({
        "at": kept[0]["at"], "times": 1, "firstAt": null, "subject": "deployer-test", "kind": "token", "tokenId": deployer.id, "role": "deployer",
        "address": "2001:db8::7", "requestId": "trace-7", "action": "deploy", "target": id, "owner": "acme", "repo": "shop",
        "result": "done", "errorCode": null,
        "details": {"branch": "main", "concurrency": "reject", "kind": "planned", "superseded": []},
    });
    for name in ["githubConnectionId", "awsConnectionId"] {
        expected["details"][name] = body[name].clone();
    }
    assert_eq!(kept, [expected]);

    let cancel = format!("/api/v1/deploy/{id}/cancel");
    assert_eq!(deployer.post(&api, &cancel, &json!({})).await.status, 200);
    let opened = admin.post(&api, "/api/v1/session", &Value::Null).await;
    let cookie = opened.header("set-cookie").split(';').next().unwrap().to_owned();
    api.request(Method::DELETE, "/api/v1/session").header("cookie", cookie).send().await.unwrap();
    revoke_token(&db.db, &deployer.id, &Caller::operator("root@host".to_owned())).await.unwrap();
    let kept = entries(&api, &admin, "").await;
    let received: Vec<_> =
        kept.iter().map(|entry| ["action", "subject", "kind"].map(|name| entry[name].as_str().unwrap())).collect();
    let expected = [
        ["token.revoke", "root@host", "operator"],
        ["session.close", "admin-test", "token"],
        ["session.open", "admin-test", "token"],
        ["cancel", "deployer-test", "token"],
        ["deploy", "deployer-test", "token"],
        ["token.create", "nobody", "nobody"],
        ["token.create", "nobody", "nobody"],
    ];
    assert_eq!(received, expected);
    assert_eq!((&kept[0]["address"], &kept[0]["requestId"]), (&Value::Null, &Value::Null));
    let text = serde_json::to_string(&kept).unwrap();
    assert!(!text.contains(&admin.secret[6..]) && !text.contains("very_secret"), "{text}");
}

#[tokio::test]
async fn audit__records_refusals_but_not_background_work() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let (admin, viewer) = (Token::of(&db.db, Role::Admin).await, Token::of(&db.db, Role::Viewer).await);
    let scoped = Token::scoped(&db.db, Role::Approver, &["toys/*"]).await;
    let before = count(&db, "audit").await;
    let fixture = Fixture::begin(&db.db).await;
    let switch = format!("/api/v1/deploy/{}/switch", fixture.id());
    assert_eq!(count(&db, "audit").await, before + 1, "the deployment itself");
    viewer.post(&api, &switch, &json!({})).await.problem(403, "NOT_ALLOWED");
    admin.post(&api, &switch, &json!({})).await.problem(409, "SWITCH_NOT_READY");
    scoped.post(&api, &switch, &json!({})).await.problem(404, "DEPLOYMENT_NOT_FOUND");
    let connect = json!({"owner": "acme", "repo": "shop", "branch": "main", "token": "ghp_very_secret"});
    scoped.post(&api, "/api/v1/connect/github", &connect).await.problem(403, "OUT_OF_SCOPE");
    // A read is no change, and anonymous callers could send any number of requests.
    viewer.get(&api, "/api/v1/deploy/dep_unknown/result").await.problem(404, "DEPLOYMENT_NOT_FOUND");
    api.post(&switch, &json!({})).await.problem(401, "NOT_SIGNED_IN");

    let kept = entries(&api, &admin, &format!("?target={}", fixture.id())).await;
    let received: Vec<_> =
        kept.iter().map(|entry| (entry["errorCode"].as_str(), entry["subject"].as_str().unwrap())).collect();
    let expected = [
        (Some("DEPLOYMENT_NOT_FOUND"), "approver-test"),
        (Some("SWITCH_NOT_READY"), "admin-test"),
        (Some("NOT_ALLOWED"), "viewer-test"),
        (None, "nobody"),
    ];
    assert_eq!(received, expected);
    assert!(kept[..3].iter().all(|entry| entry["result"] == "refused" && entry["owner"] == "acme"), "{kept:?}");
    assert_eq!(count(&db, "audit").await, before + 5);
    let refused = entries(&api, &admin, "?action=connect.github").await;
    assert!(refused.len() == 1 && !refused[0].to_string().contains("very_secret"), "{refused:?}");
}

#[tokio::test]
async fn audit__change_and_entry_atomic() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let body = body(&db, "shop").await;
    db.psql().await.execute("ALTER TABLE audit ADD CHECK (action <> 'deploy')").await.unwrap();
    api.post("/api/v1/deploy", &body).await.problem(500, "INTERNAL");
    assert_eq!((count(&db, "deployments").await, count(&db, "audit").await), (0, 0));
}

#[tokio::test]
async fn audit__idempotent_repeat_recorded_once() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let body = body(&db, "shop").await;
    for _ in 0..3 {
        let request = api.request(Method::POST, "/api/v1/deploy").header("idempotency-key", "k").json(&body);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    assert_eq!(count(&db, "audit").await, 1);
}

#[tokio::test]
async fn audit__only_admins_read_pages() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let of_shop = Token::scoped(&db.db, Role::Admin, &["acme/shop"]).await;
    for repo in ["shop", "site", "blog"] {
        Fixture::begin_of(&db.db, "acme", repo).await;
    }
    for role in [Role::Viewer, Role::Deployer, Role::Approver] {
        Token::of(&db.db, role).await.get(&api, "/api/v1/audit").await.problem(403, "NOT_ALLOWED");
    }
    let seen = entries(&api, &of_shop, "").await;
    assert!(seen.len() == 1 && seen[0]["repo"] == "shop", "tokens are of no repository: {seen:?}");
    let all = entries(&api, &admin, "?limit=100").await;
    assert_eq!(all.len(), 8);
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&api, &format!("/api/v1/audit?limit=3{cursor}")).await.data(MESSAGE);
        paged.extend(page["entries"].as_array().unwrap().clone());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, all);
    assert_eq!(entries(&api, &admin, "?action=deploy&subject=nobody").await.len(), 3);
    assert_eq!(entries(&api, &admin, "?since=2999-01-01T00:00:00Z").await.len(), 0);
    for (query, field) in [
        ("action=delete", "action"),
        ("cursor=x", "cursor"),
        ("target=%00", "target"),
        ("subject=%00", "subject"),
        ("since=yesterday", "since"),
        ("limit=0", "limit"),
    ] {
        let refused = admin.get(&api, &format!("/api/v1/audit?{query}")).await;
        assert_eq!(refused.refused_field("INVALID_FIELD"), field);
    }
}

#[tokio::test]
async fn audit__immutable_even_for_table_owner() {
    let db = TestDb::new().await;
    Token::of(&db.db, Role::Admin).await;
    let mut psql = db.psql().await;
    for sql in [
        "UPDATE audit SET subject = 'x'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "UPDATE audit SET at = now() WHERE false",
    ] {
        let done = psql.execute(sql).await;
        // A statement that touches no row changes nothing.
        assert_eq!(done.is_ok(), sql.ends_with("false"), "{sql}: {done:?}");
        if let Err(error) = done {
            assert!(error.to_string().contains("append-only"), "{error}");
        }
    }
    assert_eq!(count(&db, "audit").await, 1);
}

#[tokio::test]
async fn audit__server_role_cannot_change_rows() {
    let db = TestDb::new().await;
    let mut app = PgConnection::connect(db.url()).await.unwrap();
    for sql in [
        "UPDATE audit SET subject = 'x'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "DROP TABLE audit",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "DROP FUNCTION audit_is_append_only CASCADE",
        "INSERT INTO schema_versions (version, works_with) VALUES (9999, 1)",
        "DELETE FROM _sqlx_migrations",
        "CREATE TABLE mine (n int)",
    ] {
        let error = app.execute(sql).await.unwrap_err().to_string();
        assert!(error.contains("permission denied") || error.contains("must be owner"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn four_eyes__starter_cannot_switch() {
    let db = TestDb::new().await;
    let flags = ["--auth=required", "--another-approves"];
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &flags).await;
    let (starter, other) = (Token::of(&db.db, Role::Approver).await, Token::of(&db.db, Role::Admin).await);
    let answer = starter.post(&api, "/api/v1/deploy", &body(&db, "shop").await).await;
    let id = answer.data("배포가 시작되었습니다.")["deploymentId"].as_str().unwrap().to_owned();
    let ready = format!("UPDATE deployments SET status = 'DEPLOYMENT_READY', ready_at = now() WHERE id = '{id}'");
    db.psql().await.execute(sqlx::AssertSqlSafe(ready)).await.unwrap();
    let switch = format!("/api/v1/deploy/{id}/switch");
    let refused = starter.post(&api, &switch, &json!({})).await.problem(403, "APPROVER_STARTED_IT");
    assert_eq!(refused["deploymentId"], id);
    // A second token of the same name is the same person.
    let again = Token::of(&db.db, Role::Approver).await;
    again.post(&api, &switch, &json!({})).await.problem(403, "APPROVER_STARTED_IT");
    let view = db.db.deployment(&id).await.unwrap().unwrap();
    assert!(view.switch_requested_at.is_none());
    assert_eq!(other.post(&api, &switch, &json!({})).await.status, 200);
}

#[tokio::test]
async fn audit__unrecorded_refusal_still_refuses() {
    let api = Api::serve(&unreachable_db()).await;
    api.post("/api/v1/deploy", &json!({"surprise": 1})).await.problem(400, "INVALID_FIELD");
}
