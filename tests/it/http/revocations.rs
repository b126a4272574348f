//! Revoking a subject of an issuer ends its tokens, sessions, tickets and streams on all replicas, and its schedules.

use std::time::{Duration, Instant};

use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::auth::Token;
use super::oidc::{Issuer, Key};
use super::{Answer, Api, ExternalServices, Fixture, Reader, count, fixture};
use crate::support::db::TestDb;
use crate::support::wait_for;

const PATH: &str = "/api/v1/revocations";
const REVOKED: &str = "권한이 취소되었습니다.";
const SUBJECT: &str = "repo:acme/shop:ref:refs/heads/main";

/// Two replicas that trust an issuer.
struct Replicas {
    issuer: Issuer,
    key: Key,
    one: Api,
    two: Api,
}

impl Replicas {
    async fn start(db: &TestDb) -> Self {
        let key = Key::ec("k");
        let issuer = Issuer::start(&[&key]).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issuers.json");
        std::fs::write(&path, issuer.file().to_string()).unwrap();
        let flags = [format!("--oidc-file={}", path.display())];
        let serve = async || Api::serve_with(&db.db, &ExternalServices::default(), &[&flags[0]]).await;
        Self { one: serve().await, two: serve().await, issuer, key }
    }

    fn token(&self, changes: &Value) -> String {
        self.key.sign(&self.issuer.claims(changes))
    }
}

async fn ask(api: &Api, method: Method, path: &str, token: &str, body: &Value) -> Answer {
    Answer::of(api.request(method, path).bearer_auth(token).json(body).send().await.unwrap()).await
}

#[tokio::test]
async fn revocation__subject_and_dependents_end_within_five_seconds() {
    let db = TestDb::new().await;
    let replicas = Replicas::start(&db).await;
    let (one, two) = (&replicas.one, &replicas.two);
    let admin = Token::of(&db.db, Role::Admin).await;
    let (mine, other) = (replicas.token(&json!({})), replicas.token(&json!({"sub": "another"})));
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    let events = format!("/api/v1/deploy/{}/events", fixture.id());
    let github = fixture::github_connection(&db.db, "acme", "shop").await;
    let aws: String = {
        let id = fixture::aws_connection(&db.db).await;
        let sql = "UPDATE aws_connections SET scope = '{acme/shop}' WHERE id = $1";
        sqlx::query(sql).bind(&id).execute(&mut db.psql().await).await.unwrap();
        id
    };
    let schedule = json!({"cron": "@yearly", "deploy": {"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme",
                          "repo": "shop", "branch": "main"}});
    let schedule =
        ask(two, Method::POST, "/api/v1/schedules", &mine, &schedule).await.data("배포 일정이 등록되었습니다.");
    let opened = ask(two, Method::POST, "/api/v1/session", &mine, &Value::Null).await;
    let cookie = opened.header("set-cookie").split(';').next().unwrap().to_owned();
    let ticket = ask(two, Method::POST, &format!("/api/v1/deploy/{}/ticket", fixture.id()), &mine, &Value::Null).await;
    let ticket = ticket.data("티켓이 발급되었습니다.")["ticket"].as_str().unwrap().to_owned();
    let mut with_token = Reader::open(two.request(Method::GET, &events).bearer_auth(&mine)).await;
    let mut with_cookie = Reader::open(two.request(Method::GET, &events).header("cookie", &cookie)).await;
    let mut others = Reader::open(two.request(Method::GET, &events).bearer_auth(&other)).await;
    for stream in [&mut with_token, &mut with_cookie, &mut others] {
        stream.take(1).await;
    }

    let body = json!({"issuer": replicas.issuer.name(), "subject": SUBJECT, "reason": "stolen"});
    let revoked = admin.post(one, PATH, &body).await.data(REVOKED);
    let begun = Instant::now();
    assert_eq!(revoked["schedules"], json!([schedule["scheduleId"]]));
    ask(one, Method::GET, "/api/v1/deploy", &mine, &Value::Null).await.problem(401, "NOT_SIGNED_IN");
    assert_eq!(with_token.next().await, None);
    assert_eq!(with_cookie.next().await, None);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for new in [mine.clone(), replicas.token(&json!({"jti": "new"}))] {
        let problem = ask(two, Method::GET, "/api/v1/deploy", &new, &Value::Null).await.problem(401, "NOT_SIGNED_IN");
        assert!(problem["detail"].as_str().unwrap().contains("revoked"), "{problem}");
    }
    two.get(&format!("{events}?ticket={ticket}")).await.problem(401, "NOT_SIGNED_IN");
    let request = two.request(Method::GET, "/api/v1/deploy").header("cookie", &cookie);
    Answer::of(request.send().await.unwrap()).await.problem(401, "NOT_SIGNED_IN");
    fixture.build_lines(2, 2).await;
    assert_eq!(others.take(1).await.len(), 1, "another subject's continues");

    let path = format!("/api/v1/schedules/{}", schedule["scheduleId"].as_str().unwrap());
    let shown = admin.get(one, &path).await.data("배포 일정 조회 성공");
    assert_eq!((&shown["stopped"]["code"], &shown["nextRunAt"]), (&json!("SUBJECT_REVOKED"), &Value::Null));
    assert_eq!((&shown["lastError"], &shown["nextRuns"]), (&shown["stopped"]["reason"], &json!([])));
    let adopted = admin.request(one, Method::PATCH, &path).json(&json!({"adopt": true})).send().await.unwrap();
    let adopted = Answer::of(adopted).await.data("배포 일정이 변경되었습니다.");
    assert_eq!((&adopted["stopped"], &adopted["madeBy"]), (&Value::Null, &json!("admin-test")));
    assert!(adopted["nextRunAt"].is_string());

    // Once restored, the subject is accepted again; nothing that ended resumes.
    let id = revoked["revocation"]["revocationId"].as_str().unwrap();
    let listed = admin.get(two, PATH).await.data("권한 취소 목록 조회 성공");
    assert_eq!(listed["revocations"], json!([revoked["revocation"]]));
    let lift = admin.request(two, Method::DELETE, &format!("{PATH}/{id}")).send().await.unwrap();
    assert_eq!(Answer::of(lift).await.data("권한 취소가 해제되었습니다."), revoked["revocation"]);
    wait_for("the token is accepted", async || {
        ask(one, Method::GET, "/api/v1/deploy", &mine, &Value::Null).await.status == 200
    })
    .await;
    let page = admin.get(one, &format!("/api/v1/audit?target={id}")).await.data("감사 기록 조회 성공");
    let actions: Vec<_> =
        page["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["subject.restore", "subject.revoke"]);
    let lift = admin.request(two, Method::DELETE, &format!("{PATH}/{id}")).send().await.unwrap();
    Answer::of(lift).await.problem(404, "REVOCATION_NOT_FOUND");
}

#[tokio::test]
async fn revocation__only_unscoped_admin_and_errors_named() {
    let db = TestDb::new().await;
    let replicas = Replicas::start(&db).await;
    let api = &replicas.one;
    let admin = Token::of(&db.db, Role::Admin).await;
    let good = json!({"issuer": replicas.issuer.name(), "subject": SUBJECT});
    Token::of(&db.db, Role::Approver).await.post(api, PATH, &good).await.problem(403, "NOT_ALLOWED");
    let scoped = Token::scoped(&db.db, Role::Admin, &["acme/*"]).await;
    scoped.post(api, PATH, &good).await.problem(403, "OUT_OF_SCOPE");
    scoped.get(api, PATH).await.problem(403, "OUT_OF_SCOPE");
    for (field, value) in [
        ("issuer", json!("")),
        ("issuer", json!(format!("{}/", replicas.issuer.name()))),
        ("issuer", json!("https://other.example")),
        ("issuer", json!("http://issuer.example")),
        ("subject", json!("")),
        ("subject", json!("a\nb")),
        ("subject", json!("x".repeat(256))),
        ("reason", json!("")),
        ("reason", json!("a\u{0}b")),
        ("tokenId", json!("tok_x")),
    ] {
        let mut body = good.clone();
        body[field] = value;
        assert_eq!(admin.post(api, PATH, &body).await.refused_field("INVALID_FIELD"), field, "{body}");
    }
    assert_eq!(count(&db, "revoked_subjects").await, 0);
    // A subject of arbitrary characters is treated as data only.
    let odd = json!({"issuer": replicas.issuer.name(), "subject": "'; DROP TABLE audit; -- | % 한국어"});
    assert_eq!(admin.post(api, PATH, &odd).await.status, 200);
    assert_eq!(admin.post(api, PATH, &odd).await.status, 200, "revoking twice records one revocation");
    assert_eq!(count(&db, "revoked_subjects").await, 1);
    let all = admin.get(api, "/api/v1/audit?action=subject.revoke").await.data("감사 기록 조회 성공");
    let done = all["entries"].as_array().unwrap().iter().filter(|entry| entry["result"] == "done").count();
    assert_eq!(done, 1);
}

#[tokio::test]
async fn revocation__replaced_admin_token_ends_sessions_and_tickets() {
    let db = TestDb::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let flag = format!("--admin-token-file={}", file.path().display());
    let serve = async |token: &str| {
        std::fs::write(file.path(), token).unwrap();
        Api::serve_with(&db.db, &ExternalServices::default(), &[&flag]).await
    };
    let (first, second) = ("1".repeat(40), "2".repeat(40));
    let before = serve(&first).await;
    let fixture = Fixture::begin(&db.db).await;
    let opened = ask(&before, Method::POST, "/api/v1/session", &first, &Value::Null).await;
    let cookie = opened.header("set-cookie").split(';').next().unwrap().to_owned();
    let ticket =
        ask(&before, Method::POST, &format!("/api/v1/deploy/{}/ticket", fixture.id()), &first, &Value::Null).await;
    let ticket = ticket.data("티켓이 발급되었습니다.")["ticket"].as_str().unwrap().to_owned();
    drop(before);
    let after = serve(&second).await;
    let request = after.request(Method::GET, "/api/v1/deploy").header("cookie", &cookie);
    Answer::of(request.send().await.unwrap()).await.problem(401, "NOT_SIGNED_IN");
    after.get(&format!("/api/v1/deploy/{}/events?ticket={ticket}", fixture.id())).await.problem(401, "NOT_SIGNED_IN");
    ask(&after, Method::GET, "/api/v1/deploy", &first, &Value::Null).await.problem(401, "NOT_SIGNED_IN");
    assert_eq!(ask(&after, Method::GET, "/api/v1/deploy", &second, &Value::Null).await.status, 200);
}
