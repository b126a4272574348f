//! Moving finished deployments to the archive.

use panda::domain::maintenance::RetentionKind;
use serde_json::json;

use super::{Keeper, age};
use crate::http::{Api, Fixture};
use crate::support::commands::Commands;
use crate::support::db::TestDb;

async fn failed(db: &TestDb, lines: u32) -> Fixture {
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, lines).await;
    fixture.fail().await;
    fixture
}

#[tokio::test]
async fn archive__old_deployments_only_in_reports() {
    let db = TestDb::new().await;
    let (old, huge, young) = (failed(&db, 3).await, failed(&db, 4_500).await, failed(&db, 3).await);
    let running = Fixture::begin(&db.db).await;
    for fixture in [&old, &huge] {
        age(&db, fixture.id(), 401).await;
    }
    let run = Keeper::of(&db.db, RetentionKind::Deployments, "400d").tick(1).await;
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
    for fixture in [&young, &running] {
        assert_eq!(api.get(&format!("/api/v1/deploy/{}/result", fixture.id())).await.status, 200);
    }
}

/// Every row of every view except those of events and runs, which the archive does not keep.
async fn reports(db: &TestDb) -> Vec<(String, Vec<String>)> {
    let mut connection = db.psql().await;
    let views: Vec<String> = sqlx::query_scalar(
        "SELECT table_name FROM information_schema.views WHERE table_schema = 'panda_report' AND table_name NOT IN ('events_v1', 'measurements_v1', 'step_runs_v1') ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut reports = Vec::new();
    for view in views {
        // `archived_at` is the only column that may differ, and the time of that write.
        let written = if view == "deployments_v1" { " - 'updated_at'" } else { "" };
        let sql = format!("SELECT (to_jsonb(v) - 'archived_at'{written})::text FROM panda_report.{view} v ORDER BY 1");
        let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
        reports.push((view, rows));
    }
    reports
}

#[tokio::test]
async fn archive__reports_unchanged_by_retention() {
    let db = TestDb::new().await;
    let mut fixtures = vec![failed(&db, 3).await, failed(&db, 5).await];
    let mut completed = Fixture::begin_of(&db.db, "acme", "site").await;
    completed.build_lines(1, 3).await;
    completed.ready().await;
    db.db.request_switch(completed.id()).await.unwrap();
    completed.claim_again().await;
    completed.complete().await;
    db.db.request_retry(fixtures[1].id()).await.unwrap();
    let mut retried = fixtures[1].retried().await;
    retried.build_lines(6, 7).await;
    retried.complete().await;
    fixtures.push(completed);
    for fixture in &fixtures {
        age(&db, fixture.id(), 401).await;
    }
    let before = reports(&db).await;
    assert!(
        before.len() >= 8 && before.iter().any(|(view, rows)| view == "deployments_v1" && rows.len() == 3),
        "{before:?}"
    );
    for (kind, keep) in
        [(RetentionKind::BuildLines, "30d"), (RetentionKind::Events, "180d"), (RetentionKind::Deployments, "400d")]
    {
        let run = Keeper::of(&db.db, kind, keep).tick(1).await;
        assert!(run.state == "done" && run.removed > 0, "{run:?}");
        pretty_assertions::assert_eq!(reports(&db).await, before, "after {kind}");
    }
}

#[tokio::test]
async fn archive__keeps_the_newest_releases_of_each_target() {
    let db = TestDb::new().await;
    let first = Fixture::begin(&db.db).await;
    let account = first.account().to_owned();
    let mut releases = vec![first];
    releases[0].complete().await;
    for _ in 0..3 {
        let mut next = Fixture::begin_at(&db.db, "acme", "shop", &account).await;
        next.complete().await;
        releases.push(next);
    }
    let mut failed = Fixture::begin_at(&db.db, "acme", "shop", &account).await;
    failed.fail().await;
    let mut elsewhere = Fixture::begin(&db.db).await;
    elsewhere.complete().await;
    for fixture in releases.iter().chain([&failed, &elsewhere]) {
        age(&db, fixture.id(), 401).await;
    }
    let run = Keeper::keeping(&db.db, "400d", 2).tick(1).await;
    assert_eq!((run.state.as_str(), run.removed), ("done", 3), "two releases, and the failed deployment");
    let mut archived: Vec<String> =
        sqlx::query_scalar("SELECT id FROM archived_deployments").fetch_all(&mut db.psql().await).await.unwrap();
    let mut expected: Vec<String> = [&releases[0], &releases[1], &failed].map(|gone| gone.id().to_owned()).to_vec();
    archived.sort();
    expected.sort();
    assert_eq!(archived, expected);
}
