//! `GET /api/v1/reports` and `/api/v1/reports/{name}`.

use panda::db::reports::REPORTS;
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::auth::Token;
use super::{Api, ExternalServices, Fixture, unreachable_db};
use crate::report::figures;
use crate::support::db::TestDb;

const MESSAGE: &str = "보고서 조회 성공";

/// An API on failed deployments of `acme/shop` and a ready one of `other/web`.
async fn filled() -> (TestDb, Api) {
    let db = TestDb::new().await;
    Fixture::begin_of(&db.db, "acme", "shop").await.fail().await;
    Fixture::begin_of(&db.db, "other", "web").await.ready().await;
    Fixture::begin_of(&db.db, "acme", "shop").await.complete().await;
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
    assert_eq!(listed[0]["title"], "The DORA figures by month");
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
    assert_eq!(column(&frequency, "change_fail_percent"), [&json!(0.0)]);
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
async fn reports__csv_has_the_rows_of_json() {
    let (db, api) = Box::pin(filled()).await;
    let viewer = Token::of(&db.db, Role::Viewer).await;
    let file = viewer.get(&api, "/api/v1/reports/failures?format=csv").await;
    assert_eq!((file.status, file.header("content-type")), (200, "text/csv; charset=utf-8; header=present"));
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"panda-failures.csv\"");
    let lines: Vec<&str> = file.text.lines().collect();
    assert_eq!(lines[0], "error_code,stage,failed_attempts,retried,last_failed_at");
    assert!(lines.len() == 2 && lines[1].starts_with("BUILD_FAILED,"), "{}", file.text);
    let json = viewer.get(&api, "/api/v1/reports/failures?format=json&timeZone=Asia/Seoul").await.data(MESSAGE);
    assert_eq!(json["timeZone"], "Asia/Seoul");
    for (query, field) in
        [("format=xml", "format"), ("timeZone=Seoul", "timeZone"), ("timeZone=asia/seoul", "timeZone")]
    {
        let refused = viewer.get(&api, &format!("/api/v1/reports/failures?{query}")).await;
        assert_eq!(refused.refused_field("INVALID_FIELD"), field);
    }
}

#[tokio::test]
async fn reports__days_begin_in_the_time_zone() {
    let test = figures::filled().await;
    let api = Api::serve(&test.db).await;
    let days = async |zone: &str| {
        let path = format!("/api/v1/reports/results-by-day?since=2026-01-01&until=2026-02-01&timeZone={zone}");
        column(&api.get(&path).await.data(MESSAGE), "day").into_iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(days("UTC").await, [json!("2026-01-05"), json!("2026-01-06"), json!("2026-01-31")]);
    assert_eq!(days("Asia/Seoul").await, [json!("2026-01-05"), json!("2026-01-06"), json!("2026-01-07")]);
}

#[tokio::test]
async fn reports__trend_compares_with_the_period_before() {
    let test = figures::filled().await;
    let api = Api::serve(&test.db).await;
    let trend = api.get("/api/v1/reports/dora-trend?since=2026-01-06&until=2026-01-07").await.data(MESSAGE);
    assert_eq!(column(&trend, "period"), [&json!("this"), &json!("before")]);
    // The days of `dora__figures_match_manual_calculation`.
    assert_eq!(column(&trend, "deployments"), [&json!(3), &json!(1)]);
    assert_eq!(column(&trend, "lead_time_median_seconds"), [&json!(3_600.0), &json!(7_200.0)]);
    assert_eq!(column(&trend, "change_fail_percent"), [&json!(0.0), &json!(0.0)]);
    assert_eq!(column(&trend, "recovery_time_median_seconds"), [&Value::Null, &Value::Null]);
    let phases = api.get("/api/v1/reports/lead-time-phases?since=2026-01-01&until=2026-03-01").await.data(MESSAGE);
    let mean: f64 = column(&phases, "mean_seconds").iter().map(|value| value.as_f64().unwrap()).sum();
    assert!((mean - 12_240.0).abs() < 1.0, "the mean lead time of all: {phases}");
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

#[tokio::test]
async fn reports__grouped_and_filtered_by_label_and_place() {
    let test = figures::filled().await;
    let psql = &mut test.psql().await;
    let labels = "UPDATE deployments SET requested_labels = CASE WHEN id LIKE 'dep_a%' THEN '{\"team\": \"payments\", \"tier\": \"1\"}'::jsonb ELSE '{\"team\": \"search\"}' END
                  WHERE id <> 'dep_c2'";
    sqlx::Executor::execute(&mut *psql, labels).await.unwrap();
    test.db.rebuild_reports().await.unwrap();
    let api = Api::serve(&test.db).await;
    let period = "since=2026-01-01&until=2026-03-01";
    let dora = async |query: &str| api.get(&format!("/api/v1/reports/dora?{period}&{query}")).await.data(MESSAGE);
    let by_team = dora("groupBy=label:team").await;
    assert_eq!(column(&by_team, "label"), [&json!("payments"), &json!("search"), &Value::Null]);
    assert_eq!(column(&by_team, "deployments"), [&json!(3), &json!(1), &json!(1)]);
    assert_eq!(column(&by_team, "owner"), [&Value::Null; 3]);
    let one = dora("groupBy=label:team&label=team:payments&owner=acme").await;
    assert_eq!((column(&one, "label"), column(&one, "deployments")), (vec![&json!("payments")], vec![&json!(3)]));
    assert_eq!(column(&dora("label=tier:1").await, "deployments"), [&json!(3)]);
    assert_eq!(dora("label=team:nothing").await["rows"], json!([]));
    let region = dora("groupBy=region").await;
    assert_eq!(
        (column(&region, "account_id"), column(&region, "region")),
        (vec![&json!("111122223333")], vec![&json!("r")])
    );
    assert_eq!(column(&dora("groupBy=account").await, "deployments"), [&json!(5)]);
    assert_eq!(column(&dora("groupBy=repository").await, "repo").len(), 2);
    // All reports of deployments can be filtered.
    for question in REPORTS.iter().filter(|question| question.has_labels()) {
        api.get(&format!("/api/v1/reports/{}?{period}&label=team:payments", question.name)).await.data(MESSAGE);
    }
    for (query, field) in [
        ("dora?label=team", "label"),
        ("dora?label=Team:x", "label"),
        ("dora?groupBy=team", "groupBy"),
        ("dora?groupBy=label:", "groupBy"),
        ("failures?groupBy=label:team", "groupBy"),
        ("approvals?label=team:payments", "label"),
    ] {
        let refused = api.get(&format!("/api/v1/reports/{query}")).await;
        assert_eq!(refused.refused_field("INVALID_FIELD"), field, "{query}");
    }
    // The views have the same figures.
    let view = "SELECT label, label_value, sum(deployments) FROM panda_report.dora_daily_v2 WHERE level = 'label' GROUP BY 1, 2 ORDER BY 1, 2";
    assert_eq!(crate::report::lines(psql, view).await, ["team|payments|3", "team|search|1", "tier|1|3"]);
}
