//! Tokens: which are accepted, and when they end.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use panda::commands::tokens::{TokenRevocation, revoke_token};
use panda::domain::principal::{Caller, Role, Scope};
use reqwest::Method;

use super::{Token, serve};
use crate::http::{Answer, Api, ExternalServices, Fixture, count};
use crate::support::db::TestDb;
use crate::support::wait_for;

const LIST: &str = "/api/v1/deploy";

#[tokio::test]
async fn token__only_valid_token_signs_in() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let token = Token::of(&db.db, Role::Viewer).await;
    assert_eq!(token.get(&api, LIST).await.status, 200);

    let anonymous = api.get(LIST).await;
    let problem = anonymous.problem(401, "NOT_SIGNED_IN");
    assert_eq!(anonymous.header("www-authenticate"), r#"Bearer realm="panda""#);
    assert!(problem["message"].as_str().unwrap().contains("panda token create"), "{problem}");
    let with = async |value: &str| {
        let request = api.request(Method::GET, LIST).header("authorization", value);
        Answer::of(request.send().await.unwrap()).await
    };
    let secret = &token.secret;
    for refused in [
        format!("Bearer {secret}0"),
        format!("Bearer {}", &secret[..secret.len() - 1]),
        format!("Bearer {}", secret.to_uppercase()),
        format!("Basic {secret}"),
        secret.clone(),
        "Bearer ' OR true --".to_owned(),
        format!("Bearer {}", "x".repeat(9_000)),
    ] {
        let answer = with(&refused).await;
        answer.problem(401, "NOT_SIGNED_IN");
        assert!(!answer.text.contains(&secret[6..20]), "{}", answer.text);
    }
    let query = api.get(&format!("{LIST}?token={secret}")).await;
    query.problem(401, "NOT_SIGNED_IN");
}

#[tokio::test]
async fn token__required_on_every_path() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let document = serde_json::to_value(panda::http::document()).unwrap();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            // Errors in the rest of the request are not revealed to an unauthenticated caller.
            let path = path.replace("{id}", "dep_unknown");
            let answer = Answer::of(api.request(method, &path).body("{").send().await.unwrap()).await;
            if path.starts_with("/api/v1/hooks/github/") {
                // GitHub's signature takes the place of the token.
                answer.problem(415, "PUSH_MEDIA_TYPE");
            } else if operation["security"] == serde_json::json!([{}]) {
                // Closing a session needs only the session.
                let open = !path.starts_with("/api/") || path == "/api/v1/session";
                assert!(open && answer.status == 200, "{path}");
            } else {
                answer.problem(401, "NOT_SIGNED_IN");
                asked += 1;
            }
        }
    }
    assert!(asked >= 12, "{asked}");
}

#[tokio::test]
async fn token__absent_from_table_and_database_log() {
    let db = TestDb::new().await;
    let token = Token::of(&db.db, Role::Viewer).await;
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT t::text FROM api_tokens t").fetch_all(&mut db.psql().await).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(!rows[0].contains(&token.secret[6..]), "{rows:?}");
}

#[tokio::test]
async fn token__revocation_effective_within_five_seconds() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let (token, other) = (Token::of(&db.db, Role::Viewer).await, Token::of(&db.db, Role::Viewer).await);
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    let path = format!("/api/v1/deploy/{}/events", fixture.id());
    let mut stream = token.follow(&api, &path).await;
    let mut all = token.follow(&api, "/api/v1/events").await;
    let mut others = other.follow(&api, &path).await;
    stream.take(1).await;
    others.take(1).await;

    assert_eq!(revoke_token(&db.db, &token.id, &Caller::local()).await.unwrap(), TokenRevocation::Now);
    let revoked = Instant::now();
    assert_eq!(stream.next().await, None);
    // An event that was sent before the revocation may still arrive.
    assert!(all.rest().await.len() <= 1);
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
    token.get(&api, LIST).await.problem(401, "NOT_SIGNED_IN");
    assert_eq!(token.follow(&api, &path).await.status, 401, "an EventSource does not reconnect");
    fixture.build_lines(2, 2).await;
    assert_eq!(others.take(1).await.len(), 1, "the stream of another token continues");
    assert_eq!(revoke_token(&db.db, &token.id, &Caller::local()).await.unwrap(), TokenRevocation::Before);
    assert_eq!(revoke_token(&db.db, "tok_none", &Caller::local()).await.unwrap(), TokenRevocation::Unknown);
}

#[tokio::test]
async fn token__expiry_ends_streams() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let ends = Utc::now() + TimeDelta::milliseconds(1_500);
    let token = Token::make(&db.db, Role::Viewer, Scope::All, Some(ends)).await;
    let fixture = Fixture::begin(&db.db).await;
    let path = format!("/api/v1/deploy/{}/events", fixture.id());
    let mut stream = token.follow(&api, &path).await;
    assert_eq!(stream.next().await, None);
    assert!(Utc::now() >= ends - TimeDelta::milliseconds(10) && Utc::now() < ends + TimeDelta::seconds(2));
    wait_for("the token is refused", async || token.get(&api, LIST).await.status == 401).await;
    assert!(!db.db.has_usable_token().await.unwrap());
}

#[tokio::test]
async fn token__checked_every_two_seconds() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let token = Token::of(&db.db, Role::Viewer).await;
    assert_eq!(token.get(&api, LIST).await.status, 200);
    // A lookup would fail without the table.
    let rename = "ALTER TABLE api_tokens RENAME TO kept";
    sqlx::Executor::execute(&mut db.psql().await, rename).await.unwrap();
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(token.get(&api, LIST).await.status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(4));
    wait_for("a cached result expires", async || token.get(&api, LIST).await.status == 503).await;
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn no_auth__only_loopback_host_names_accepted() {
    let db = TestDb::new().await;
    let local = Api::serve(&db.db).await;
    let off = Api::serve_with(&db.db, &ExternalServices::default(), &["--no-auth"]).await;
    let named = async |api: &Api, host: &str, path: &str| {
        let request = api.request(Method::GET, path).header("host", host);
        Answer::of(request.send().await.unwrap()).await
    };
    for path in [LIST, "/api/v1/events"] {
        // A foreign page whose host name was pointed at this server (DNS rebinding).
        let refused = named(&local, "evil.example:8080", path).await.problem(401, "NOT_SIGNED_IN");
        assert!(refused["message"].as_str().unwrap().contains("--auth required"), "{refused}");
    }
    assert_eq!(named(&local, "localhost:8080", LIST).await.status, 200);
    assert_eq!(named(&local, "evil.example", "/healthz").await.status, 200);
    assert_eq!(named(&off, "panda.example", LIST).await.status, 200);
}

#[tokio::test]
async fn no_auth__token_not_read() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &[]).await;
    let request = api.request(Method::GET, LIST).bearer_auth("anything");
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(count(&db, "api_tokens").await, 0);
}
