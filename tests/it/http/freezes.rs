//! Freezes as resources: who may create, see and lift which. What they hold is tested with the deployments.

use chrono::{SecondsFormat, TimeDelta, Utc};
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::auth::{Token, serve};
use super::{Answer, Api, count, fixture};
use crate::support::db::TestDb;

const PATH: &str = "/api/v1/freezes";
const CREATED: &str = "배포 동결이 생성되었습니다.";
const LISTED: &str = "배포 동결 목록 조회 성공";
const LIFTED: &str = "배포 동결이 해제되었습니다.";

/// A time from now.
pub fn ahead(minutes: i64) -> String {
    (Utc::now() + TimeDelta::minutes(minutes)).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A freeze that an API without authentication creates.
pub async fn freeze(api: &Api, scope: &str, holds: &str) -> String {
    let body = json!({"scope": scope, "holds": holds, "reason": "Christmas sale", "endsAt": ahead(60)});
    api.post(PATH, &body).await.data(CREATED)["freezeId"].as_str().unwrap().to_owned()
}

pub async fn lift(api: &Api, id: &str) -> Value {
    api.delete(&format!("{PATH}/{id}")).await.data(LIFTED)
}

fn of(scope: &str) -> Value {
    json!({"scope": scope, "reason": "sale", "endsAt": ahead(60)})
}

#[tokio::test]
async fn freezes__created_listed_and_lifted_once() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let body = json!({"scope": "repository:Acme/Shop", "holds": "starts", "reason": "sale", "startsAt": ahead(30), "endsAt": ahead(60)});
    let keyed = || admin.request(&api, Method::POST, PATH).header("idempotency-key", "k").json(&body);
    let made = Answer::of(keyed().send().await.unwrap()).await.data(CREATED);
    assert_eq!(Answer::of(keyed().send().await.unwrap()).await.data(CREATED), made, "a repetition creates nothing");
    assert_eq!(
        (&made["scope"], &made["holds"], &made["state"]),
        (&json!("repository:acme/shop"), &json!("starts"), &json!("pending"))
    );
    assert_eq!(
        (&made["createdBy"], &made["startsAt"], &made["endsAt"]),
        (&json!("admin-test"), &body["startsAt"], &body["endsAt"])
    );
    // The beginning is now unless it is later, and both acts are held unless one is named.
    let mut past = of("all");
    past["startsAt"] = json!(ahead(-60));
    let second = admin.post(&api, PATH, &past).await.data(CREATED);
    assert_eq!((&second["holds"], &second["state"]), (&json!("both"), &json!("in_force")));
    assert!(second["startsAt"].as_str() >= second["createdAt"].as_str().map(|at| &at[..19]), "{second}");

    let viewer = Token::of(&db.db, Role::Viewer).await;
    let listed = viewer.get(&api, PATH).await.data(LISTED);
    assert_eq!(listed["freezes"], json!([second, made]), "newest first");
    let page = viewer.get(&api, &format!("{PATH}?limit=1")).await.data(LISTED);
    let next = format!("{PATH}?limit=1&cursor={}", page["nextCursor"].as_str().unwrap());
    let rest = viewer.get(&api, &next).await.data(LISTED);
    assert_eq!((&rest["freezes"], &rest["nextCursor"]), (&json!([made]), &Value::Null));

    let path = format!("{PATH}/{}", made["freezeId"].as_str().unwrap());
    let lift = async || Answer::of(admin.request(&api, Method::DELETE, &path).send().await.unwrap()).await;
    let gone = lift().await.data(LIFTED);
    assert_eq!((&gone["state"], &gone["liftedBy"]), (&json!("lifted"), &json!("admin-test")));
    assert_eq!(lift().await.data(LIFTED), gone, "it stays as it is");
    let pending = viewer.get(&api, &format!("{PATH}?pending=true")).await.data(LISTED);
    assert_eq!(pending["freezes"], json!([second]));
    let sql = "SELECT action, repo FROM audit WHERE target = $1 ORDER BY id";
    let audited: Vec<(String, Option<String>)> =
        sqlx::query_as(sql).bind(made["freezeId"].as_str()).fetch_all(&mut db.psql().await).await.unwrap();
    let row = |action: &str| (action.to_owned(), Some("shop".to_owned()));
    assert_eq!(audited, [row("freeze.create"), row("freeze.lift")]);
}

#[tokio::test]
async fn freezes__only_for_admins_of_what_they_cover() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    for role in [Role::Viewer, Role::Deployer, Role::Approver] {
        Token::of(&db.db, role).await.post(&api, PATH, &of("all")).await.problem(403, "NOT_ALLOWED");
    }
    let shop = Token::scoped(&db.db, Role::Admin, &["acme/shop"]).await;
    let acme = Token::scoped(&db.db, Role::Admin, &["acme/*"]).await;
    for scope in ["all", "account:123456789012", "region:eu-west-1", "owner:acme", "repository:acme/toys"] {
        shop.post(&api, PATH, &of(scope)).await.problem(403, "OUT_OF_SCOPE");
    }
    for scope in ["all", "account:123456789012", "region:eu-west-1", "owner:acme-x"] {
        acme.post(&api, PATH, &of(scope)).await.problem(403, "OUT_OF_SCOPE");
    }
    shop.post(&api, PATH, &of("repository:acme/shop")).await.data(CREATED);
    let owner = acme.post(&api, PATH, &of("owner:acme")).await.data(CREATED);
    acme.post(&api, PATH, &of("repository:acme/toys")).await.data(CREATED);
    // What is seen may still be another admin's to lift.
    let path = format!("{PATH}/{}", owner["freezeId"].as_str().unwrap());
    let lift = async |by: &Token| Answer::of(by.request(&api, Method::DELETE, &path).send().await.unwrap()).await;
    lift(&shop).await.problem(403, "OUT_OF_SCOPE");
    lift(&Token::scoped(&db.db, Role::Admin, &["toys/*"]).await).await.problem(404, "FREEZE_NOT_FOUND");
    lift(&Token::of(&db.db, Role::Approver).await).await.problem(403, "NOT_ALLOWED");
    lift(&acme).await.data(LIFTED);
    let sql = "SELECT count(*) FROM audit WHERE action LIKE 'freeze.%' AND result = 'refused'";
    let refused: i64 = sqlx::query_scalar(sql).fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(refused, 8, "each kind of refusal of a caller is audited");
}

#[tokio::test]
async fn freezes__shown_where_they_may_concern_the_caller() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let scopes = [
        "all",
        "region:eu-west-1",
        "account:123456789012",
        "account:999999999999",
        "owner:acme",
        "owner:toys",
        "repository:acme/shop",
        "repository:acme/x",
    ];
    for scope in scopes {
        admin.post(&api, PATH, &of(scope)).await.data(CREATED);
    }
    let seen = async |by: &[&str]| -> Vec<String> {
        let token = Token::scoped(&db.db, Role::Viewer, by).await;
        let rows = token.get(&api, &format!("{PATH}?limit=100")).await.data(LISTED)["freezes"].clone();
        rows.as_array().unwrap().iter().rev().map(|row| row["scope"].as_str().unwrap().to_owned()).collect()
    };
    let everyone = ["all", "region:eu-west-1"];
    assert_eq!(seen(&["acme/shop"]).await, [&everyone[..], &["owner:acme", "repository:acme/shop"]].concat());
    assert_eq!(
        seen(&["acme/*"]).await,
        [&everyone[..], &["owner:acme", "repository:acme/shop", "repository:acme/x"]].concat()
    );
    assert_eq!(seen(&["other/*"]).await, everyone);
    // Of an account, with a connection to it.
    let aws = fixture::aws_connection(&db.db).await;
    let sql = "UPDATE aws_connections SET scope = ARRAY['acme/shop'] WHERE id = $1";
    sqlx::query(sql).bind(&aws).execute(&mut db.psql().await).await.unwrap();
    for scope in [["acme/*"], ["acme/shop"]] {
        let seen = seen(&scope).await;
        assert!(
            seen.contains(&"account:123456789012".to_owned()) && !seen.contains(&"account:999999999999".to_owned())
        );
    }
    assert_eq!(seen(&["acme/x"]).await, [&everyone[..], &["owner:acme", "repository:acme/x"]].concat());
}

#[tokio::test]
async fn freezes__invalid_fields_named_with_bounds() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let with = |name: &str, value: Value| {
        let mut body = of("all");
        body[name] = value;
        body
    };
    let mut late = with("startsAt", json!(ahead(120)));
    for (body, field, bound) in [
        (json!({"reason": "x", "endsAt": ahead(1)}), "scope", "missing"),
        (with("scope", json!("team:acme")), "scope", "repository:OWNER/NAME"),
        (with("scope", json!("")), "scope", "repository:OWNER/NAME"),
        (with("scope", json!("account:123")), "scope", "twelve digits"),
        (with("scope", json!("region:mars-north-1")), "scope", "AWS"),
        (with("scope", json!("owner:-")), "scope", "after the colon"),
        (with("scope", json!("repository:acme")), "scope", "repository:acme/shop"),
        (with("scope", json!("repository:acme/*")), "scope", "after the colon"),
        (with("holds", json!("builds")), "holds", "starts, switches or both"),
        (with("reason", json!("")), "reason", "500"),
        (with("reason", json!("x".repeat(501))), "reason", "500"),
        (with("reason", json!("a\nb")), "reason", "line breaks"),
        (with("endsAt", json!("tomorrow")), "endsAt", "RFC 3339"),
        (with("endsAt", json!(ahead(-1))), "endsAt", "later than now"),
        (with("endsAt", json!(ahead(367 * 24 * 60))), "endsAt", "366"),
        (with("startsAt", json!("soon")), "startsAt", "RFC 3339"),
        (late.take(), "endsAt", "later than startsAt"),
        (with("until", json!(ahead(1))), "until", "endsAt"),
    ] {
        let answer = api.post(PATH, &body).await;
        let problem = answer.problem(400, "INVALID_FIELD");
        assert_eq!(problem["field"], field, "{body}");
        assert!(problem["detail"].as_str().unwrap().contains(bound), "{body}: {problem}");
    }
    for id in ["frz_none", "x y", "%00"] {
        api.delete(&format!("{PATH}/{id}")).await.problem(404, "FREEZE_NOT_FOUND");
    }
    assert_eq!(api.get(&format!("{PATH}?pending=maybe")).await.refused_field("INVALID_FIELD"), "pending");
    assert_eq!(count(&db, "freezes").await, 0);
}

#[tokio::test]
async fn freezes__bounded_in_number() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let sql = "INSERT INTO freezes (id, scope, holds, reason, created_by, starts_at, ends_at)
               SELECT 'frz_' || n, 'owner:toys', 'both', 'x', 'x', now(), now() + interval '1 hour' FROM generate_series(1, 499) AS n";
    sqlx::query(sql).execute(&mut db.psql().await).await.unwrap();
    let bodies = [of("owner:a"), of("owner:b")];
    let (one, other) = tokio::join!(api.post(PATH, &bodies[0]), api.post(PATH, &bodies[1]));
    let refused = if one.status == 200 { other } else { one };
    assert!(
        refused.problem(409, "TOO_MANY_FREEZES")["detail"].as_str().unwrap().contains("500"),
        "one of two concurrent ones"
    );
    assert_eq!(count(&db, "freezes").await, 500);
    // Those that have ended do not count.
    let ended = "UPDATE freezes SET starts_at = now() - interval '2 hours', ends_at = now() - interval '1 hour' WHERE id = 'frz_1'";
    sqlx::query(ended).execute(&mut db.psql().await).await.unwrap();
    api.post(PATH, &of("owner:c")).await.data(CREATED);
}
