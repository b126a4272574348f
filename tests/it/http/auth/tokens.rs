//! Tokens: which are accepted, and that they stop.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use panda::db::tokens::Revoked;
use panda::domain::principal::{Caller, Role, Scope};
use reqwest::Method;

use super::{Token, serve};
use crate::http::{Answer, Api, Outside, Story, count};
use crate::support::db::TestDb;
use crate::support::wait_for;

const LIST: &str = "/api/v1/deploy";

#[tokio::test]
async fn a_token_signs_in_and_nothing_else_does() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let token = Token::of(&db.db, Role::Viewer).await;
    assert_eq!(token.get(&api, LIST).await.status, 200);

    let nobody = api.get(LIST).await;
    let problem = nobody.problem(401, "NOT_SIGNED_IN");
    assert_eq!(nobody.header("www-authenticate"), r#"Bearer realm="panda""#);
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
async fn every_path_of_the_api_asks_who_is_there() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let document = serde_json::to_value(panda::http::document()).unwrap();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            // What is wrong with the rest is not told to those who are not let in.
            let path = path.replace("{id}", "dep_unknown");
            let answer = Answer::of(api.request(method, &path).body("{").send().await.unwrap()).await;
            if operation["security"] == serde_json::json!([{}]) {
                // Closing a session needs nothing but the session.
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
async fn the_table_and_the_log_of_the_database_have_no_token() {
    let db = TestDb::new().await;
    let token = Token::of(&db.db, Role::Viewer).await;
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT t::text FROM api_tokens t").fetch_all(&mut db.psql().await).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(!rows[0].contains(&token.secret[6..]), "{rows:?}");
}

#[tokio::test]
async fn a_revoked_token_stops_within_five_seconds_and_so_do_its_streams() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let (token, other) = (Token::of(&db.db, Role::Viewer).await, Token::of(&db.db, Role::Viewer).await);
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 1).await;
    let path = format!("/api/v1/deploy/{}/events", story.id());
    let mut stream = token.follow(&api, &path).await;
    let mut all = token.follow(&api, "/api/v1/events").await;
    let mut others = other.follow(&api, &path).await;
    stream.take(1).await;
    others.take(1).await;

    assert_eq!(db.db.revoke_token(&token.id, &Caller::local()).await.unwrap(), Revoked::Now);
    let revoked = Instant::now();
    assert_eq!(stream.next().await, None);
    // What was told before may still come.
    assert!(all.rest().await.len() <= 1);
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
    token.get(&api, LIST).await.problem(401, "NOT_SIGNED_IN");
    assert_eq!(token.follow(&api, &path).await.status, 401, "an EventSource does not come back");
    story.build_lines(2, 2).await;
    assert_eq!(others.take(1).await.len(), 1, "another's goes on");
    assert_eq!(db.db.revoke_token(&token.id, &Caller::local()).await.unwrap(), Revoked::Before);
    assert_eq!(db.db.revoke_token("tok_none", &Caller::local()).await.unwrap(), Revoked::Unknown);
}

#[tokio::test]
async fn a_token_and_its_streams_end_at_its_time() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let ends = Utc::now() + TimeDelta::milliseconds(1_500);
    let token = Token::make(&db.db, Role::Viewer, Scope::All, Some(ends)).await;
    let story = Story::begin(&db.db).await;
    let path = format!("/api/v1/deploy/{}/events", story.id());
    let mut stream = token.follow(&api, &path).await;
    assert_eq!(stream.next().await, None);
    assert!(Utc::now() >= ends - TimeDelta::milliseconds(10) && Utc::now() < ends + TimeDelta::seconds(2));
    wait_for("the token is refused", async || token.get(&api, LIST).await.status == 401).await;
    assert!(!db.db.has_usable_token().await.unwrap());
}

#[tokio::test]
async fn a_token_in_use_costs_the_database_a_query_in_two_seconds() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let token = Token::of(&db.db, Role::Viewer).await;
    assert_eq!(token.get(&api, LIST).await.status, 200);
    // Without the table it could not be looked for.
    let rename = "ALTER TABLE api_tokens RENAME TO kept";
    sqlx::Executor::execute(&mut db.psql().await, rename).await.unwrap();
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(token.get(&api, LIST).await.status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(4));
    wait_for("what is remembered is not believed for ever", async || token.get(&api, LIST).await.status == 503).await;
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_server_that_asks_nobody_takes_requests_to_names_of_this_machine_alone() {
    let db = TestDb::new().await;
    let local = Api::serve(&db.db).await;
    let off = Api::serve_with(&db.db, &Outside::default(), &["--no-auth"]).await;
    let named = async |api: &Api, host: &str, path: &str| {
        let request = api.request(Method::GET, path).header("host", host);
        Answer::of(request.send().await.unwrap()).await
    };
    for path in [LIST, "/api/v1/events"] {
        // A page whose name was made to lead here.
        let refused = named(&local, "evil.example:8080", path).await.problem(401, "NOT_SIGNED_IN");
        assert!(refused["message"].as_str().unwrap().contains("--auth required"), "{refused}");
    }
    assert_eq!(named(&local, "localhost:8080", LIST).await.status, 200);
    assert_eq!(named(&local, "evil.example", "/healthz").await.status, 200);
    assert_eq!(named(&off, "panda.example", LIST).await.status, 200);
}

#[tokio::test]
async fn without_authentication_a_token_is_not_even_read() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &Outside::default(), &[]).await;
    let request = api.request(Method::GET, LIST).bearer_auth("anything");
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(count(&db, "api_tokens").await, 0);
}
