//! Sessions: a cookie that grants read access only.

use panda::commands::tokens::revoke_token;
use panda::domain::principal::{Caller, Role, Scope};
use pretty_assertions::assert_eq;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{Token, serve};
use crate::http::{Answer, Api, ExternalServices, Fixture, Reader};
use crate::support::db::TestDb;
use crate::support::wait_for;

const SESSION: &str = "/api/v1/session";
const OPENED: &str = "세션이 시작되었습니다.";

/// The cookie as a browser sends it back.
async fn sign_in(api: &Api, token: &Token) -> String {
    let answer = token.post(api, SESSION, &Value::Null).await;
    assert!(answer.data(OPENED)["expiresAt"].is_string());
    let cookie = answer.header("set-cookie");
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age="] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert_eq!(answer.header("cache-control"), "no-store");
    cookie.split(';').next().unwrap().to_owned()
}

fn with(api: &Api, method: Method, path: &str, cookie: &str) -> RequestBuilder {
    api.request(method, path).header("cookie", cookie)
}

async fn get(api: &Api, path: &str, cookie: &str) -> Answer {
    Answer::of(with(api, Method::GET, path, cookie).send().await.unwrap()).await
}

#[tokio::test]
async fn session__reads_like_its_token_on_every_replica_and_changes_nothing() {
    let db = TestDb::new().await;
    let (api, replica) = (serve(&db.db).await, serve(&db.db).await);
    let token = Token::scoped(&db.db, Role::Admin, &["acme/shop"]).await;
    let (mut mine, theirs) = (Fixture::begin(&db.db).await, Fixture::begin_of(&db.db, "toys", "robot").await);
    mine.build_lines(1, 1).await;
    let cookie = sign_in(&api, &token).await;
    assert!(cookie.starts_with("panda_session=pandas_"), "{cookie}");
    for api in [&api, &replica] {
        let list = get(api, "/api/v1/deploy", &cookie).await.data("배포 목록 조회 성공");
        assert_eq!(list["deployments"].as_array().unwrap().len(), 1);
        let events = format!("/api/v1/deploy/{}/events", mine.id());
        assert_eq!(Reader::open(with(api, Method::GET, &events, &cookie)).await.take(1).await.len(), 1);
        let events = format!("/api/v1/deploy/{}/events", theirs.id());
        get(api, &events, &cookie).await.problem(404, "DEPLOYMENT_NOT_FOUND");
        for path in ["cancel", "switch", "retry", "ticket"] {
            let path = format!("/api/v1/deploy/{}/{path}", mine.id());
            let answer = with(api, Method::POST, &path, &cookie).send().await.unwrap();
            let problem = Answer::of(answer).await.problem(401, "NOT_SIGNED_IN");
            assert!(problem["message"].as_str().unwrap().contains("may only read"), "{problem}");
        }
        // A session opened by a session could be prolonged for ever.
        let again = with(api, Method::POST, SESSION, &cookie).send().await.unwrap();
        assert_eq!(again.status(), 401);
    }
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT s::text FROM sessions s").fetch_all(&mut db.psql().await).await.unwrap();
    let secret = cookie.split_once("pandas_").unwrap().1;
    assert!(rows.len() == 1 && !rows[0].contains(secret), "{rows:?}");
    for wrong in ["panda_session=", "panda_session=pandas_0", &format!("{cookie}0"), &format!("{cookie}; {cookie}")] {
        get(&api, "/api/v1/deploy", wrong).await.problem(401, "NOT_SIGNED_IN");
    }
}

#[tokio::test]
async fn session__ends_with_token_or_logout_including_streams() {
    let db = TestDb::new().await;
    let (api, replica) = (serve(&db.db).await, serve(&db.db).await);
    let (token, other) = (Token::of(&db.db, Role::Viewer).await, Token::of(&db.db, Role::Viewer).await);
    let (mine, theirs) = (sign_in(&api, &token).await, sign_in(&api, &other).await);
    let mut stream = Reader::open(with(&replica, Method::GET, "/api/v1/events", &mine)).await;
    let mut on_this = Reader::open(with(&api, Method::GET, "/api/v1/events", &theirs)).await;
    let mut on_other = Reader::open(with(&replica, Method::GET, "/api/v1/events", &theirs)).await;
    assert_eq!((stream.status, on_this.status, on_other.status), (200, 200, 200));

    revoke_token(&db.db, &token.id, &Caller::local()).await.unwrap();
    assert_eq!(stream.next().await, None);
    wait_for("the session is refused", async || get(&api, "/api/v1/deploy", &mine).await.status == 401).await;

    let closing = Answer::of(with(&api, Method::DELETE, SESSION, &theirs).send().await.unwrap()).await;
    assert_eq!(closing.data("세션이 종료되었습니다."), json!({"hadCookie": true}));
    assert!(
        closing.header("set-cookie").starts_with("panda_session=; ")
            && closing.header("set-cookie").contains("Max-Age=0")
    );
    assert_eq!(on_this.next().await, None);
    assert_eq!(on_other.next().await, None);
    get(&api, "/api/v1/deploy", &theirs).await.problem(401, "NOT_SIGNED_IN");
    let again = Answer::of(with(&api, Method::DELETE, SESSION, "a=b").send().await.unwrap()).await;
    assert_eq!(again.data("세션이 종료되었습니다."), json!({"hadCookie": false}));
}

#[tokio::test]
async fn session__lifetime_bounded_by_setting_and_token() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--auth=required", "--session-ms=1500"]).await;
    let cookie = sign_in(&api, &Token::of(&db.db, Role::Viewer).await).await;
    let mut stream = Reader::open(with(&api, Method::GET, "/api/v1/events", &cookie)).await;
    assert_eq!((stream.status, stream.next().await), (200, None));
    wait_for("the session has ended", async || get(&api, "/api/v1/deploy", &cookie).await.status == 401).await;
    assert_eq!(db.db.delete_expired_sessions().await.unwrap(), 1);

    let long = serve(&db.db).await;
    let ends = chrono::Utc::now() + chrono::TimeDelta::seconds(60);
    let token = Token::make(&db.db, Role::Viewer, Scope::All, Some(ends)).await;
    let answer = token.post(&long, SESSION, &Value::Null).await.data(OPENED);
    let session: chrono::DateTime<chrono::Utc> = answer["expiresAt"].as_str().unwrap().parse().unwrap();
    assert!((session - ends).num_milliseconds().abs() < 10, "{session} {ends}");
}

#[tokio::test]
async fn session__works_without_authentication() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let answer = Answer::of(api.request(Method::POST, SESSION).send().await.unwrap()).await;
    assert_eq!(answer.data(OPENED), json!({"expiresAt": null}));
    assert_eq!(answer.header("set-cookie"), "");
}
