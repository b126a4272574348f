//! Finished deployments that go to the archive.

use panda::domain::maintenance::Kind;
use serde_json::json;

use super::{Keeper, age};
use crate::http::{Api, Story};
use crate::support::db::TestDb;

async fn failed(db: &TestDb, lines: u32) -> Story {
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, lines).await;
    story.fail().await;
    story
}

#[tokio::test]
async fn what_ended_long_ago_is_for_reports_alone() {
    let db = TestDb::new().await;
    let (old, huge, young) = (failed(&db, 3).await, failed(&db, 4_500).await, failed(&db, 3).await);
    let running = Story::begin(&db.db).await;
    for story in [&old, &huge] {
        age(&db, story.id(), 401).await;
    }
    let run = Keeper::of(&db.db, Kind::Deployments, "400d").tick(1).await;
    assert_eq!((run.state.as_str(), run.removed, run.error), ("done", 2, None));
    let kept: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT id, status, events FROM archived_deployments ORDER BY events")
            .fetch_all(&mut db.psql().await)
            .await
            .unwrap();
    let expected = [(old.id().to_owned(), "FAILED".to_owned(), 4), (huge.id().to_owned(), "FAILED".to_owned(), 4_501)];
    assert_eq!(kept, expected);

    let api = Api::serve(&db.db).await;
    let listed = api.get("/api/v1/deploy").await.json()["data"]["deployments"].as_array().unwrap().len();
    assert_eq!(listed, 2);
    let of = |what: &str| format!("/api/v1/deploy/{}/{what}", old.id());
    for path in [of("result"), of("events")] {
        let problem = api.get(&path).await.problem(410, "DEPLOYMENT_ARCHIVED");
        assert!(problem["message"].as_str().unwrap().contains("PANDA_RETENTION_DEPLOYMENTS"), "{problem}");
        assert_eq!(problem["deploymentId"], old.id());
    }
    for path in [of("retry"), of("cancel"), of("switch"), of("ticket")] {
        api.post(&path, &json!({})).await.problem(410, "DEPLOYMENT_ARCHIVED");
    }
    api.get("/api/v1/deploy/dep_never/result").await.problem(404, "DEPLOYMENT_NOT_FOUND");
    for story in [&young, &running] {
        assert_eq!(api.get(&format!("/api/v1/deploy/{}/result", story.id())).await.status, 200);
    }
}
