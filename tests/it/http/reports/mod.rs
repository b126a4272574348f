//! `GET /api/v1/reports` and `/api/v1/reports/{name}`.

use panda::db::reports::REPORTS;
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::auth::Token;
use super::{Api, ExternalServices, Fixture, unreachable_db};
use crate::support::db::TestDb;

const MESSAGE: &str = "보고서 조회 성공";

/// An API on failed deployments of `acme/shop` and a ready one of `other/web`.
async fn filled() -> (TestDb, Api) {
    let db = TestDb::new().await;
    Fixture::begin_of(&db.db, "acme", "shop").await.fail().await;
    Fixture::begin_of(&db.db, "other", "web").await.ready().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--auth=required"]).await;
    (db, api)
}

fn column<'a>(answer: &'a Value, name: &str) -> Vec<&'a Value> {
    let columns = answer["columns"].as_array().unwrap();
    let at = columns.iter().position(|column| column["name"] == name).unwrap();
    answer["rows"].as_array().unwrap().iter().map(|row| &row[at]).collect()
}

#[tokio::test]
async fn reports__queries_listed_with_descriptions() {
    let api = Api::serve(&unreachable_db()).await;
    let listed = api.get("/api/v1/reports").await.data("보고서 목록 조회 성공");
    let listed = listed["reports"].as_array().unwrap().clone();
    assert_eq!(listed.len(), REPORTS.len());
    assert_eq!(listed[0]["name"], "dora");
    assert_eq!(listed[0]["title"], "The four DORA figures by month");
    assert!(listed.iter().all(|report| report["about"].as_str().is_some_and(|about| about.len() > 10)));
}

#[tokio::test]
async fn reports__every_query_answers_columns_and_rows() {
    let (db, api) = Box::pin(filled()).await;
    let viewer = Token::of(&db.db, Role::Viewer).await;
    for question in REPORTS {
        for filters in ["", "?owner=acme", "?owner=acme&repo=shop", "?branch=main&since=2026-01-01"] {
            let answer = viewer.get(&api, &format!("/api/v1/reports/{}{filters}", question.name)).await.data(MESSAGE);
            let columns = answer["columns"].as_array().unwrap().len();
            assert!(columns >= 2 && answer["truncated"] == false, "{answer}");
            for row in answer["rows"].as_array().unwrap() {
                assert_eq!(row.as_array().unwrap().len(), columns, "{}", question.name);
            }
        }
    }
    let failures = viewer.get(&api, "/api/v1/reports/failures").await.data(MESSAGE);
    let kinds: Vec<_> =
        failures["columns"].as_array().unwrap().iter().map(|column| column["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["text", "text", "number", "number", "time"]);
    assert_eq!(column(&failures, "failed_attempts"), [&json!(1)]);
    let frequency = viewer.get(&api, "/api/v1/reports/dora").await.data(MESSAGE);
    assert_eq!(column(&frequency, "change_failure_percent"), [&json!(100.0)]);
}

#[tokio::test]
async fn reports__limited_to_caller_scope() {
    let (db, api) = Box::pin(filled()).await;
    let scoped = Token::scoped(&db.db, Role::Viewer, &["other/web"]).await;
    let repositories = scoped.get(&api, "/api/v1/reports/repositories").await.data(MESSAGE);
    assert_eq!(column(&repositories, "repo"), [&json!("web")]);
    for question in ["dora", "failures", "build-failures", "approvals", "frequency"] {
        let answer = scoped.get(&api, &format!("/api/v1/reports/{question}?owner=acme")).await.data(MESSAGE);
        assert_eq!(answer["rows"], json!([]), "{question}");
    }
    let owner = Token::scoped(&db.db, Role::Viewer, &["acme/*"]).await;
    let dora = owner.get(&api, "/api/v1/reports/dora").await.data(MESSAGE);
    assert_eq!((column(&dora, "owner"), column(&dora, "repo")), (vec![&json!("acme")], vec![&json!("shop")]));
}

#[tokio::test]
async fn reports__invalid_query_refused_with_field_and_remedy() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let field = async |query: &str| {
        let problem = api.get(&format!("/api/v1/reports/dora?{query}")).await.problem(400, "INVALID_FIELD");
        (problem["field"].as_str().unwrap().to_owned(), problem["message"].as_str().unwrap().to_owned())
    };
    let (name, message) = field("since=yesterday").await;
    assert!(name == "since" && message.contains("2026-01-31"), "{message}");
    let (name, message) = field("since=2026-02-01&until=2026-01-01").await;
    assert!(name == "since" && message.contains("before until"), "{message}");
    assert_eq!(field("status=FAILED").await.0, "status");
    assert_eq!(field("until=2026-02-30").await.0, "until");
    assert_eq!(field("owner=a%2Fb").await.0, "owner");
    let unknown = api.get("/api/v1/reports/everything").await.problem(404, "REPORT_NOT_FOUND");
    assert!(unknown["message"].as_str().unwrap().contains("GET /api/v1/reports"), "{unknown}");
    Api::serve(&unreachable_db()).await.get("/api/v1/reports/dora").await.problem(503, "DATABASE_UNAVAILABLE");
}
