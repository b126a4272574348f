use serde_json::Value;

use crate::http::{Api, Fixture};
use crate::support::db::TestDb;

const MESSAGE: &str = "배포 목록 조회 성공";

fn ids(page: &Value) -> Vec<String> {
    page["deployments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["deploymentId"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn list__pages_newest_first_without_repeats() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut begun = Vec::new();
    for n in 0..5 {
        begun.push(Fixture::begin_of(&db.db, "acme", &format!("shop{n}")).await.id().to_owned());
    }
    begun.reverse();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for expected in [2, 2, 1] {
        let page = api.get(&format!("/api/v1/deploy?limit=2{cursor}")).await.data(MESSAGE);
        assert_eq!(ids(&page).len(), expected);
        seen.extend(ids(&page));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => assert_eq!(expected, 1, "only the last page has no next"),
        }
    }
    assert_eq!(seen, begun);
}

#[tokio::test]
async fn list__filters() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut failed = Fixture::begin_of(&db.db, "acme", "shop").await;
    failed.fail().await;
    let running = Fixture::begin_of(&db.db, "other", "site").await;
    let mut ready = Fixture::begin_of(&db.db, "other", "blog").await;
    ready.ready().await;
    let list = async |query: &str| ids(&api.get(&format!("/api/v1/deploy?{query}")).await.data(MESSAGE));
    assert_eq!(list("status=FAILED").await, [failed.id()]);
    assert_eq!(list("status=RUNNING,FAILED").await, [running.id(), failed.id()]);
    assert_eq!(list("owner=other").await, [ready.id(), running.id()]);
    assert_eq!(list("owner=other&repo=site&branch=main").await, [running.id()]);
    assert_eq!(list("branch=other").await, Vec::<String>::new());
    let at = db
        .db
        .deployment(running.id())
        .await
        .unwrap()
        .unwrap()
        .started_at
        .to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    assert_eq!(list(&format!("since={at}")).await, [ready.id(), running.id()], "at or after");
    assert_eq!(list(&format!("until={at}")).await, [failed.id()], "before");
    let item = &api.get("/api/v1/deploy?status=FAILED").await.data(MESSAGE)["deployments"][0];
    assert_eq!(item["errorCode"], "BUILD_FAILED");
    assert!(item["completedAt"].is_string() && item["durationSeconds"].is_i64());
}

#[tokio::test]
async fn list__invalid_parameter_named() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    for (query, field) in [
        ("status=DONE", "status"),
        ("status=", "status"),
        ("limit=0", "limit"),
        ("limit=ten", "limit"),
        ("cursor=abc", "cursor"),
        ("since=now", "since"),
        ("until=2026-13-01T00:00:00Z", "until"),
        ("owner=%00", "owner"),
        ("statu=RUNNING", "statu"),
        ("owner=a&owner=b", "owner"),
    ] {
        let answer = api.get(&format!("/api/v1/deploy?{query}")).await;
        assert_eq!(answer.refused_field("INVALID_FIELD"), field, "{query}");
    }
}
