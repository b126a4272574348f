//! Sessions of the web page's sign-in: they may do what their token may, from Panda's own page only.

use panda::commands::tokens::revoke_token;
use panda::domain::principal::{Caller, Role};
use pretty_assertions::assert_eq;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::Token;
use crate::http::{Answer, Api, ExternalServices, Fixture, Reader, count, fixture};
use crate::support::db::TestDb;
use crate::support::panda::Panda;
use crate::support::wait_for;

const FRONT: &str = "https://front.example";

async fn serve(db: &TestDb) -> Api {
    Panda::builder().database(&db.db).auth().flags(&["--cors-origins", FRONT]).api().await
}

/// The page's own origin.
fn own(api: &Api) -> String {
    format!("http://{}", api.address)
}

/// Posts the sign-in form as a browser does.
async fn post_form(api: &Api, origin: Option<&str>, token: &str, next: &str) -> Answer {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let body: String =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs([("token", token), ("next", next)]).finish();
    let request = client.post(format!("{}/sign-in", own(api))).body(body);
    let request = request.header("content-type", "application/x-www-form-urlencoded").header("accept-language", "en");
    let request = origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
    Answer::of(request.send().await.unwrap()).await
}

/// The cookie of a new session.
async fn sign_in(api: &Api, token: &str) -> String {
    let answer = post_form(api, Some(&own(api)), token, "/").await;
    assert_eq!((answer.status, answer.header("location")), (303, "/"), "{}", answer.text);
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

fn with(api: &Api, method: Method, path: &str, cookie: &str) -> RequestBuilder {
    api.request(method, path).header("cookie", cookie)
}

async fn send(request: RequestBuilder) -> Answer {
    Answer::of(request.send().await.unwrap()).await
}

async fn deploy_body(db: &TestDb) -> Value {
    let github = fixture::github_connection(&db.db, "acme", "shop").await;
    let aws = fixture::aws_connection(&db.db).await;
    json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"})
}

#[tokio::test]
async fn page_session__acts_as_its_token_from_the_own_page_only() {
    let db = TestDb::new().await;
    let api = serve(&db).await;
    let token = Token::of(&db.db, Role::Deployer).await;
    let cookie = sign_in(&api, &token.secret).await;
    let body = deploy_body(&db).await;
    let deploy = |headers: &[(&str, &str)]| {
        let request = with(&api, Method::POST, "/api/v1/deploy", &cookie).json(&body);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };
    // A listed page may send a token, and may not use a reader's cookie.
    for refused in [
        &[][..],
        &[("origin", FRONT)],
        &[("origin", FRONT), ("sec-fetch-site", "cross-site")],
        &[("origin", FRONT), ("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
    ] {
        let problem = send(deploy(refused)).await.problem(401, "NOT_SIGNED_IN");
        assert!(problem["message"].as_str().unwrap().contains("only Panda's own page"), "{refused:?}: {problem}");
    }
    for foreign in ["https://evil.example", "null", ""] {
        send(deploy(&[("origin", foreign)])).await.problem(403, "ORIGIN_NOT_ALLOWED");
    }
    assert_eq!(count(&db, "deployments").await, 0);
    let own = own(&api);
    let made = send(deploy(&[("origin", &own)])).await.data("배포가 시작되었습니다.");
    let id = made["deploymentId"].as_str().unwrap();
    let by: (String, String, Option<String>) =
        sqlx::query_as("SELECT subject, kind, token_id FROM audit WHERE target = $1")
            .bind(id)
            .fetch_one(&mut db.psql().await)
            .await
            .unwrap();
    assert_eq!(
        by,
        ("deployer-test".to_owned(), "token".to_owned(), Some(token.id.clone())),
        "the audit names the token"
    );
    // Role and scope are the token's.
    let proof = |request: RequestBuilder| request.header("sec-fetch-site", "same-origin");
    send(proof(with(&api, Method::POST, &format!("/api/v1/deploy/{id}/switch"), &cookie)))
        .await
        .problem(403, "NOT_ALLOWED");
    let theirs = Fixture::begin_of(&db.db, "toys", "robot").await;
    let cancel = format!("/api/v1/deploy/{}/cancel", theirs.id());
    let scoped = sign_in(&api, &Token::scoped(&db.db, Role::Deployer, &["acme/shop"]).await.secret).await;
    send(proof(with(&api, Method::POST, &cancel, &scoped))).await.problem(404, "DEPLOYMENT_NOT_FOUND");
    send(proof(with(&api, Method::POST, "/api/v1/session", &cookie))).await.problem(401, "NOT_SIGNED_IN");

    // It ends with the token, at every replica.
    let replica = serve(&db).await;
    let mut stream = Reader::open(with(&replica, Method::GET, "/api/v1/events", &cookie)).await;
    revoke_token(&db.db, &token.id, &Caller::local()).await.unwrap();
    assert_eq!(stream.next().await, None);
    wait_for("the session is refused", async || send(deploy(&[("origin", &own)])).await.status == 401).await;
}

#[tokio::test]
async fn page_session__reads_as_viewer_for_other_origins() {
    let db = TestDb::new().await;
    let api = serve(&db).await;
    let cookie = sign_in(&api, &Token::of(&db.db, Role::Admin).await.secret).await;
    let audit = |headers: &[(&str, &str)]| {
        let request = with(&api, Method::GET, "/api/v1/audit", &cookie);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };
    let own = own(&api);
    for own in [&[][..], &[("origin", own.as_str())], &[("sec-fetch-site", "same-origin")]] {
        send(audit(own)).await.data("감사 기록 조회 성공");
    }
    send(audit(&[("origin", FRONT)])).await.problem(403, "NOT_ALLOWED");
    send(audit(&[("origin", "null")])).await.problem(403, "NOT_ALLOWED");
}

#[tokio::test]
async fn page_session__schedules_and_four_eyes_follow_the_token() {
    let db = TestDb::new().await;
    let flags = ["--auth=required", "--another-approves"];
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &flags).await;
    let token = Token::of(&db.db, Role::Approver).await;
    let cookie = sign_in(&api, &token.secret).await;
    let own = |method, path: &str| with(&api, method, path, &cookie).header("sec-fetch-site", "same-origin");
    let deploy = deploy_body(&db).await;
    let body = json!({"cron": "@yearly", "deploy": deploy});
    let made = send(own(Method::POST, "/api/v1/schedules").json(&body)).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let owner: (String, Option<String>) = sqlx::query_as("SELECT made_by_kind, made_by_token FROM schedules")
        .fetch_one(&mut db.psql().await)
        .await
        .unwrap();
    assert_eq!(owner, ("token".to_owned(), Some(token.id.clone())));
    let started = send(own(Method::POST, "/api/v1/deploy").json(&deploy)).await;
    let id = started.data("배포가 시작되었습니다.")["deploymentId"].as_str().unwrap().to_owned();
    sqlx::query("UPDATE deployments SET status = 'DEPLOYMENT_READY', ready_at = now() WHERE id = $1")
        .bind(&id)
        .execute(&mut db.psql().await)
        .await
        .unwrap();
    let switch = format!("/api/v1/deploy/{id}/switch");
    send(own(Method::POST, &switch)).await.problem(403, "APPROVER_STARTED_IT");
    // The admin token's fingerprint is the basis of its sessions as well.
    let folder = tempfile::tempdir().unwrap();
    let (path, secret) = (folder.path().join("admin"), "a".repeat(40));
    std::fs::write(&path, &secret).unwrap();
    let admin_flag = format!("--admin-token-file={}", path.display());
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &[&admin_flag]).await;
    let cookie = sign_in(&api, &secret).await;
    let request = with(&api, Method::POST, "/api/v1/schedules", &cookie).header("sec-fetch-site", "same-origin");
    assert_eq!(send(request.json(&body)).await.status, 200);
    let kinds: Vec<String> = sqlx::query_scalar("SELECT made_by_kind FROM schedules WHERE made_by_admin IS NOT NULL")
        .fetch_all(&mut db.psql().await)
        .await
        .unwrap();
    assert_eq!(kinds, ["admin"]);
}

#[tokio::test]
async fn sign_in__refuses_foreign_pages_and_open_redirects() {
    let db = TestDb::new().await;
    let api = serve(&db).await;
    let token = Token::of(&db.db, Role::Viewer).await;
    // Another page could sign its reader in with its own token.
    for origin in [None, Some(FRONT), Some("https://evil.example"), Some("null")] {
        let answer = post_form(&api, origin, &token.secret, "/").await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, ""), "{origin:?}");
    }
    assert_eq!(count(&db, "sessions").await, 0);
    let own = own(&api);
    for (next, location) in [
        ("/history?days=7", "/history?days=7"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https:evil.example", "/"),
        ("https://evil.example/", "/"),
        ("/\t/evil.example", "/"),
        ("/..//evil.example", "/"),
        ("javascript:alert(1)", "/"),
    ] {
        let answer = post_form(&api, Some(&own), &token.secret, next).await;
        assert_eq!((answer.status, answer.header("location")), (303, location), "{next}");
        let form = api
            .get(&format!(
                "/sign-in?next={}",
                url::form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>()
            ))
            .await;
        assert!(form.text.contains(&format!("name=\"next\" value=\"{location}\"")), "{}", form.text);
    }
}

#[tokio::test]
async fn sign_in__wrong_token_keeps_the_form_and_failures_are_bounded() {
    let db = TestDb::new().await;
    let api = serve(&db).await;
    let own = own(&api);
    let wrong = format!("panda_{:064x}", 7);
    let answer = post_form(&api, Some(&own), &wrong, "/history").await;
    assert_eq!((answer.status, answer.header("set-cookie")), (401, ""));
    assert!(answer.text.contains("unknown, expired or revoked") && answer.text.contains("value=\"/history\""));
    assert!(!answer.text.contains(&wrong), "the token is in no page");
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(post_form(&api, Some(&own), &wrong, "/").await.status);
    }
    assert!(statuses.contains(&401) && statuses.last() == Some(&429), "{statuses:?}");
    assert_eq!(count(&db, "audit").await, 0, "any client can fail in any number");
}

#[tokio::test]
async fn sign_in__never_adopts_a_planted_cookie_and_sign_out_ends_it() {
    let db = TestDb::new().await;
    let api = serve(&db).await;
    let token = Token::of(&db.db, Role::Viewer).await;
    let planted = format!("panda_session=pandas_{:064x}", 9);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let form = |path: &str, cookie: &str| {
        let request = client.post(format!("{}{path}", own(&api))).header("origin", own(&api)).header("cookie", cookie);
        request.header("content-type", "application/x-www-form-urlencoded").body(format!("token={}", token.secret))
    };
    let first = send(form("/sign-in", &planted)).await;
    let first = first.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_ne!(first, planted);
    // A new sign-in ends the session before it.
    let second = send(form("/sign-in", &first)).await.header("set-cookie").split(';').next().unwrap().to_owned();
    send(with(&api, Method::GET, "/api/v1/deploy", &first)).await.problem(401, "NOT_SIGNED_IN");
    assert_eq!(send(with(&api, Method::GET, "/api/v1/deploy", &second)).await.status, 200);
    // No GET changes anything.
    assert_eq!(send(with(&api, Method::GET, "/sign-out", &second)).await.status, 405);
    assert_eq!(send(with(&api, Method::GET, "/api/v1/deploy", &second)).await.status, 200);
    let out = send(form("/sign-out", &second)).await;
    assert_eq!((out.status, out.header("location")), (303, "/sign-in"));
    assert!(out.header("set-cookie").starts_with("panda_session=; ") && out.header("set-cookie").contains("Max-Age=0"));
    send(with(&api, Method::GET, "/api/v1/deploy", &second)).await.problem(401, "NOT_SIGNED_IN");
}

#[tokio::test]
async fn sign_in__leads_on_without_authentication() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = Answer::of(client.get(format!("{}/sign-in?next=/history", own(&api))).send().await.unwrap()).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/history"));
}
