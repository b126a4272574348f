//! Tickets: each opens one stream, or one result, once.

use panda::commands::tokens::revoke_token;
use panda::domain::principal::{Caller, Role};
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::Value;

use super::{Token, serve};
use crate::http::{Api, Fixture, Reader, count};
use crate::support::db::TestDb;

const MADE: &str = "티켓이 발급되었습니다.";

async fn ticket(api: &Api, token: &Token, path: &str) -> String {
    let answer = token.post(api, path, &Value::Null).await.data(MADE);
    let (ticket, ends) = (answer["ticket"].as_str().unwrap(), answer["expiresAt"].as_str().unwrap());
    let left = ends.parse::<chrono::DateTime<chrono::Utc>>().unwrap() - chrono::Utc::now();
    assert!((25..=30).contains(&left.num_seconds()), "{left}");
    ticket.to_owned()
}

#[tokio::test]
async fn ticket__opens_its_stream_once_on_any_replica() {
    let db = TestDb::new().await;
    let (api, replica) = (serve(&db.db).await, serve(&db.db).await);
    let token = Token::scoped(&db.db, Role::Viewer, &["acme/*"]).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let other = Fixture::begin_of(&db.db, "acme", "site").await;
    let theirs = Fixture::begin_of(&db.db, "toys", "robot").await;
    fixture.build_lines(1, 2).await;
    let of = |fixture: &Fixture, end: &str| format!("/api/v1/deploy/{}/{end}", fixture.id());
    let (events, make) = (of(&fixture, "events"), of(&fixture, "ticket"));

    let one = ticket(&api, &token, &make).await;
    let mut stream = Reader::open(replica.request(Method::GET, &format!("{events}?ticket={one}&lang=en"))).await;
    assert_eq!(stream.take(2).await.len(), 2);
    for api in [&api, &replica] {
        let problem = api.get(&format!("{events}?ticket={one}")).await.problem(401, "NOT_SIGNED_IN");
        assert!(problem["message"].as_str().unwrap().contains("used before"), "{problem}");
    }
    // A ticket is invalid for another stream, and remains valid for its own.
    let two = ticket(&api, &token, &make).await;
    for path in [of(&other, "events"), "/api/v1/events".to_owned(), of(&other, "result")] {
        api.get(&format!("{path}?ticket={two}")).await.problem(401, "NOT_SIGNED_IN");
    }
    assert_eq!(api.get(&format!("{}?ticket={two}", of(&fixture, "result"))).await.status, 200);
    api.get(&format!("{}?ticket={two}", of(&fixture, "result"))).await.problem(401, "NOT_SIGNED_IN");
    // A ticket opens no other endpoint.
    let three = ticket(&api, &token, &make).await;
    api.get(&format!("/api/v1/deploy?ticket={three}")).await.problem(401, "NOT_SIGNED_IN");
    for path in [of(&fixture, "switch"), of(&fixture, "ticket")] {
        let refused = api.request(Method::POST, &format!("{path}?ticket={three}")).send().await.unwrap();
        assert_eq!(refused.status(), 401);
    }
    token.post(&api, &of(&theirs, "ticket"), &Value::Null).await.problem(404, "DEPLOYMENT_NOT_FOUND");

    let all = ticket(&api, &token, "/api/v1/events/ticket").await;
    let mut stream = Reader::open(replica.request(Method::GET, &format!("/api/v1/events?ticket={all}"))).await;
    assert_eq!(stream.status, 200);
    fixture.build_lines(3, 3).await;
    assert_eq!(stream.take(1).await[0].json()["deploymentId"], fixture.id());
    replica.get(&format!("/api/v1/events?ticket={all}")).await.problem(401, "NOT_SIGNED_IN");
}

#[tokio::test]
async fn ticket__ends_with_its_time_and_token_including_stream() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let token = Token::of(&db.db, Role::Viewer).await;
    let fixture = Fixture::begin(&db.db).await;
    let of = |end: &str| format!("/api/v1/deploy/{}/{end}", fixture.id());
    let (events, make) = (of("events"), of("ticket"));
    let late = ticket(&api, &token, &make).await;
    sqlx::query("UPDATE stream_tickets SET expires_at = now()").execute(&mut db.psql().await).await.unwrap();
    api.get(&format!("{events}?ticket={late}")).await.problem(401, "NOT_SIGNED_IN");
    assert_eq!(db.db.delete_expired_sessions().await.unwrap(), 1);

    let (one, two) = (ticket(&api, &token, &make).await, ticket(&api, &token, &make).await);
    let mut stream = Reader::open(api.request(Method::GET, &format!("{events}?ticket={one}"))).await;
    assert_eq!(stream.status, 200);
    revoke_token(&db.db, &token.id, &Caller::local()).await.unwrap();
    assert_eq!(stream.next().await, None);
    api.get(&format!("{events}?ticket={two}")).await.problem(401, "NOT_SIGNED_IN");
}

#[tokio::test]
async fn ticket__concurrent_use_admits_one() {
    let db = TestDb::new().await;
    let (api, replica) = (serve(&db.db).await, serve(&db.db).await);
    let token = Token::of(&db.db, Role::Viewer).await;
    let one = ticket(&api, &token, "/api/v1/events/ticket").await;
    let path = format!("/api/v1/events?ticket={one}");
    let ask = |n: usize| [&api, &replica][n % 2].request(Method::GET, &path).send();
    let answers = futures_util::future::join_all((0..16).map(ask)).await;
    let let_in = answers.into_iter().filter(|answer| answer.as_ref().unwrap().status() == 200).count();
    assert_eq!((let_in, count(&db, "stream_tickets").await), (1, 0));
}

#[tokio::test]
async fn ticket__ignored_without_authentication() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let fixture = Fixture::begin(&db.db).await;
    let tickets = format!("/api/v1/deploy/{}/ticket", fixture.id());
    let made = api.post(&tickets, &Value::Null).await.data(MADE)["ticket"].as_str().unwrap().to_owned();
    for ticket in [made.as_str(), &made, "other"] {
        let path = format!("/api/v1/deploy/{}/events?ticket={ticket}", fixture.id());
        assert_eq!(Reader::open(api.request(Method::GET, &path)).await.status, 200);
    }
    // This ticket belongs to no caller: it opens nothing on a server that requires authentication.
    let guarded = serve(&db.db).await;
    let path = format!("/api/v1/deploy/{}/events?ticket={made}", fixture.id());
    guarded.get(&path).await.problem(401, "NOT_SIGNED_IN");
}
