//! The language of errors and results: `?lang=`, `Accept-Language`, default.

use panda::commands::tokens::revoke_token;
use panda::domain::principal::{Caller, Role, Scope};
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api, Fixture};
use crate::schedules;
use crate::support::db::TestDb;

async fn get(api: &Api, path: &str, accept: Option<&str>) -> Answer {
    let mut request = api.request(Method::GET, path);
    if let Some(accept) = accept {
        request = request.header("Accept-Language", accept);
    }
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn errors__language_of_parameter_header_or_english() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let long = format!("ko{}", ",fr".repeat(500));
    for (query, accept, lang) in [
        ("", None, "en"),
        ("?lang=ko", None, "ko"),
        ("?lang=en", Some("ko"), "en"),
        ("", Some("ko-KR,ko;q=0.9,en-US;q=0.8"), "ko"),
        ("", Some("fr;q=1, ko;q=0.2, en;q=0.1"), "ko"),
        ("", Some("en, ko;q=0.9"), "en"),
        ("", Some("*"), "en"),
        ("", Some("ko;q=0"), "en"),
        ("", Some(";q=,,ko;q=many"), "en"),
        ("", Some(&long), "en"),
        ("?lang=tlh", None, "en"),
        ("?lang=tlh", Some("ko"), "ko"),
    ] {
        let answer = get(&api, &format!("/api/v1/deploy/dep_x/result{query}"), accept).await;
        let problem = answer.problem(404, "DEPLOYMENT_NOT_FOUND");
        let (title, detail) = match lang {
            "ko" => (
                "존재하지 않는 배포입니다",
                "배포 결과를 찾을 수 없습니다: dep_x. 기존 배포는 GET /api/v1/deploy로 조회할 수 있습니다.",
            ),
            _ => (
                "There is no such deployment",
                "There is no deployment dep_x. GET /api/v1/deploy lists the existing ones.",
            ),
        };
        assert_eq!(
            (problem["title"].as_str(), problem["message"].as_str()),
            (Some(title), Some(detail)),
            "{query} {accept:?}"
        );
        assert_eq!(problem["detail"], problem["message"]);
        assert_eq!(answer.header("content-language"), lang);
        assert!(answer.header("vary").contains("accept-language"));
    }
}

#[tokio::test]
async fn errors__reason_of_field_in_same_language() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let message = async |path: &str| get(&api, path, None).await.problem(400, "INVALID_FIELD")["message"].clone();
    assert_eq!(message("/api/v1/deploy?limit=0").await, "limit: must be a whole number from 1 to 100");
    assert_eq!(message("/api/v1/deploy?limit=0&lang=ko").await, "limit: 1에서 100 사이의 정수여야 합니다");
    assert_eq!(
        message("/api/v1/deploy?lang=ko&owner=-").await,
        "owner: GitHub 계정 또는 조직 이름이어야 합니다. 영문자, 숫자, 하이픈 1~39자이며 양 끝에 하이픈을 쓸 수 없습니다"
    );
    let unknown = message("/api/v1/deploy?lang=ko&ownr=a").await;
    assert!(unknown.as_str().unwrap().starts_with("ownr: 알 수 없는 필드입니다. 사용할 수 있는 필드: "), "{unknown}");
    let schedule = json!({"cron": "61 * * * *", "timeZone": "UTC", "deploy": {
        "githubConnectionId": "gh_x", "awsConnectionId": "aws_x", "owner": "a", "repo": "b", "branch": "main"}});
    let problem = api.post("/api/v1/schedules?lang=ko", &schedule).await.problem(400, "INVALID_FIELD");
    assert!(
        problem["message"].as_str().unwrap().starts_with("cron: 분 필드의 \"61\": *, 0~59, 0-59와 같은 범위"),
        "{problem}"
    );
}

#[tokio::test]
async fn lists__accept_lang() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    for path in [
        "/api/v1/deploy?lang=en&limit=1",
        "/api/v1/deploy?limit=1&lang=tlh",
        "/api/v1/connections?lang=ko",
        "/api/v1/audit?lang=ko&lang=en",
    ] {
        assert_eq!(get(&api, path, None).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn result__error_message_in_asked_language() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.fail().await;
    let retry = api.post(&format!("/api/v1/deploy/{}/retry", fixture.id()), &json!({})).await;
    assert_eq!(retry.status, 200);
    let mut again = fixture.retried().await;
    again.fail().await;
    let path = format!("/api/v1/deploy/{}/result", again.id());
    let messages = async |query: &str, accept: Option<&str>| {
        let answer = get(&api, &format!("{path}{query}"), accept).await;
        let data: Value = answer.data("배포 결과 조회 성공");
        assert_eq!(data["attempts"][0]["errorMessage"], data["errorMessage"]);
        (data["errorMessage"].as_str().unwrap().to_owned(), answer.header("content-language").to_owned())
    };
    let korean = "Docker 이미지 빌드 실패: exit code 1";
    assert_eq!(messages("", None).await, (korean.to_owned(), String::new()));
    assert_eq!(messages("?lang=tlh", None).await, (korean.to_owned(), String::new()));
    assert_eq!(messages("?lang=ko", Some("en")).await, (korean.to_owned(), "ko".to_owned()));
    for (query, accept) in [("?lang=en", None), ("", Some("en-US"))] {
        let (message, lang) = messages(query, accept).await;
        assert_eq!((message.as_str(), lang.as_str()), ("Docker image build failed: exit code 1", "en"));
    }
}

/// Reasons of a refused run and of a stopped schedule, which are stored long before they are read.
#[tokio::test]
async fn schedules__reasons_in_asked_language() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let shown = async |id: &str, query: &str, accept: Option<&str>| {
        let one = get(&api, &format!("/api/v1/schedules/{id}{query}"), accept).await;
        let (lang, data) = (one.header("content-language").to_owned(), one.data("배포 일정 조회 성공"));
        let list = get(&api, &format!("/api/v1/schedules{query}"), accept).await.data("배포 일정 목록 조회 성공");
        let runs = get(&api, &format!("/api/v1/schedules/{id}/runs{query}"), accept).await;
        let runs = runs.data("배포 일정 실행 기록 조회 성공");
        let listed = list["schedules"].as_array().unwrap().iter().find(|one| one["scheduleId"] == id).unwrap();
        assert_eq!(listed, &data);
        assert_eq!(runs["runs"][0]["errorMessage"], data["lastError"]);
        (data["lastError"].as_str().unwrap().to_owned(), data["stopped"]["reason"].clone(), lang)
    };
    let hourly = schedules::hourly(&db.db).await;
    let refused = schedules::made(&db.db, &hourly).await;
    schedules::due_now(&db, &refused).await;
    let other = schedules::deployment(schedules::look(&db.db).await);
    schedules::due_now(&db, &refused).await;
    schedules::look(&db.db).await.unwrap();
    let english = format!("The deployment {other} of the same repository, AWS account and region is not finished.");
    let korean = format!("같은 저장소, AWS 계정, 리전의 배포 {other}이(가) 아직 끝나지 않았습니다.");
    for (query, accept, expected, lang) in [
        ("", None, &english, ""),
        ("?lang=ko", None, &korean, "ko"),
        ("", Some("ko-KR,ko;q=0.9"), &korean, "ko"),
        ("?lang=en", Some("ko"), &english, "en"),
        ("?lang=tlh", None, &english, ""),
    ] {
        let received = shown(&refused, query, accept).await;
        assert_eq!(received, (expected.clone(), Value::Null, lang.to_owned()), "{query} {accept:?}");
    }

    let owner = schedules::caller("alice", Role::Deployer, Scope::All);
    let stopped = schedules::made_by(&db.db, &hourly, &owner).await;
    revoke_token(&db.db, "tok_alice", &Caller::local()).await.unwrap();
    let korean = "이 스케줄이 속한 API 토큰 tok_alice이(가) 취소되었습니다. 스케줄이 중지되었습니다. `panda schedule adopt`나 다른 변경으로 스케줄을 넘겨받으세요.";
    let (reason, stop, _) = shown(&stopped, "?lang=ko", None).await;
    assert_eq!((reason.as_str(), &stop), (korean, &json!(korean)));
    assert!(shown(&stopped, "", None).await.0.starts_with("The API token tok_alice"));
    // As stored by a version without the texts, or by a newer one with other texts.
    for stored in ["NULL", r#"'{"key": "schedule.newer", "params": {}}'"#] {
        let sql = format!(
            "UPDATE schedule_runs SET error_text = {stored}; UPDATE schedules SET stopped_text = {stored} WHERE stopped_at IS NOT NULL"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut db.psql().await).await.unwrap();
        assert!(shown(&stopped, "?lang=ko", None).await.0.starts_with("The API token tok_alice"), "{stored}");
    }
}
