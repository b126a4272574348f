//! Retention of build lines and events.

use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use panda::domain::maintenance::RetentionKind;

use super::{Keeper, age, codes};
use crate::http::Fixture;
use crate::support::commands::Commands;
use crate::support::db::TestDb;

/// A finished deployment with this number of build lines.
async fn built(db: &TestDb, lines: u32) -> Fixture {
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.tell(vec![Event::new(EventCode::BuildStarted)]).await;
    fixture.build_lines(1, lines).await;
    fixture.tell(vec![Event::new(EventCode::PushProgress).with("message", "pushed").keyed(1)]).await;
    fixture.complete().await;
    fixture
}

#[tokio::test]
async fn retention__build_lines_removed_other_events_kept() {
    let db = TestDb::new().await;
    let (old, young, mut running) = (built(&db, 5_000).await, built(&db, 3).await, Fixture::begin(&db.db).await);
    running.build_lines(1, 3).await;
    age(&db, old.id(), 31).await;
    age(&db, young.id(), 29).await;
    let keeper = Keeper::of(&db.db, RetentionKind::BuildLines, "30d");
    let run = keeper.tick(1).await;
    assert_eq!((run.state.as_str(), run.removed, run.error), ("done", 5_001, None));
    assert_eq!(codes(&db, old.id()).await, ["build_started", "deployment_completed", "completed"]);
    assert_eq!(codes(&db, young.id()).await.len(), 7);
    assert_eq!(codes(&db, running.id()).await.len(), 3);
    let text = keeper.metrics.text();
    assert!(text.contains("panda_maintenance_removed_total{kind=\"build_lines\"} 5001"), "{text}");
    assert!(text.contains("panda_maintenance_runs_total{kind=\"build_lines\",end=\"done\"} 1"), "{text}");

    let again = keeper.tick(2).await;
    assert_eq!((again.state.as_str(), again.removed), ("done", 0));
    age(&db, young.id(), 2).await;
    assert_eq!(keeper.tick(3).await.removed, 4, "only the events that have aged since");
    let shown = db.db.deployment(old.id()).await.unwrap().unwrap();
    assert_eq!(shown.event_count, 5_004, "how many there were");
}

#[tokio::test]
async fn retention__last_event_kept_with_deployment() {
    let db = TestDb::new().await;
    let (old, young) = (built(&db, 10).await, built(&db, 10).await);
    let mut failed = Fixture::begin(&db.db).await;
    failed.build_lines(1, 3).await;
    failed.fail().await;
    age(&db, old.id(), 200).await;
    age(&db, failed.id(), 200).await;
    let run = Keeper::of(&db.db, RetentionKind::Events, "180d").tick(1).await;
    assert_eq!((run.state.as_str(), run.removed), ("done", 16));
    assert_eq!(codes(&db, old.id()).await, ["completed"]);
    assert_eq!(codes(&db, failed.id()).await, ["build_failed"]);
    assert_eq!(codes(&db, young.id()).await.len(), 14);
}

#[tokio::test]
async fn retention__retried_deployment_skipped_until_finished() {
    let db = TestDb::new().await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 3).await;
    fixture.fail().await;
    age(&db, fixture.id(), 40).await;
    db.db.request_retry(fixture.id()).await.unwrap();
    let keeper = Keeper::of(&db.db, RetentionKind::Events, "30d");
    assert_eq!(keeper.tick(1).await.removed, 0);
    let mut fixture = fixture.retried().await;
    fixture.build_lines(4, 5).await;
    fixture.fail().await;
    assert_eq!(keeper.tick(2).await.removed, 0, "it ended just now");
    let all = codes(&db, fixture.id()).await.len();
    age(&db, fixture.id(), 40).await;
    let removed = keeper.tick(3).await.removed;
    assert_eq!((usize::try_from(removed).unwrap(), codes(&db, fixture.id()).await.len()), (all - 1, 1));
}

#[tokio::test]
async fn retention__unlimited_is_never_queried() {
    let db = TestDb::new().await;
    let old = built(&db, 10).await;
    age(&db, old.id(), 10_000).await;
    let keeper = Keeper::of(&db.db, RetentionKind::Events, "never");
    keeper.maintenance.begin_due(chrono::Utc::now() + chrono::TimeDelta::minutes(5)).await;
    assert!(keeper.runs().await.is_empty());
    assert_eq!(codes(&db, old.id()).await.len(), 14);
}

#[tokio::test]
async fn retention__finished_run_records_removed() {
    let db = TestDb::new().await;
    let lines = Keeper::of(&db.db, RetentionKind::BuildLines, "30d");
    lines.tick(1).await;
    lines.tick(2).await;
    sqlx::query("UPDATE maintenance_runs SET ended_at = ended_at - interval '91 days' WHERE id = (SELECT min(id) FROM maintenance_runs)")
        .execute(&mut db.psql().await)
        .await
        .unwrap();
    let run = Keeper::of(&db.db, RetentionKind::Runs, "90d").tick(1).await;
    assert_eq!((run.state.as_str(), run.removed), ("done", 1));
    assert_eq!(lines.runs().await.len(), 1);
}

#[tokio::test]
async fn retention__schedule_runs_removed_except_last_and_referenced() {
    let db = TestDb::new().await;
    let there = Fixture::begin(&db.db).await;
    let times = "INSERT INTO schedules (id, cron, time_zone, github_connection_id, aws_connection_id, owner, repo, branch, concurrency, missed, paused, made_by,
                               made_by_kind, role)
        SELECT 'sch_' || s, '@daily', 'UTC', github_connection_id, aws_connection_id, owner, repo, branch, 'reject', 'skip', true, 'nobody', 'nobody', 'admin'
        FROM deployments, generate_series(1, 2) s;
        INSERT INTO schedule_runs (schedule_id, due_at, at, result, deployment_id)
        SELECT 'sch_1', now() - d * interval '1 day', now() - d * interval '1 day', 'started', CASE d WHEN 120 THEN (SELECT id FROM deployments) ELSE 'dep_' || d END
        FROM unnest(ARRAY[200, 120, 100, 1]) d;
        INSERT INTO schedule_runs (schedule_id, due_at, at, result) VALUES ('sch_2', now() - interval '300 days', now() - interval '300 days', 'skipped')";
    sqlx::raw_sql(times).execute(&mut db.psql().await).await.unwrap();
    let run = Keeper::of(&db.db, RetentionKind::Runs, "90d").tick(1).await;
    assert_eq!((run.state.as_str(), run.removed), ("done", 2));
    let left: Vec<Option<String>> = sqlx::query_scalar("SELECT deployment_id FROM schedule_runs ORDER BY due_at")
        .fetch_all(&mut db.psql().await)
        .await
        .unwrap();
    assert_eq!(left, [None, Some(there.id().to_owned()), Some("dep_1".to_owned())]);
}

#[tokio::test]
async fn retention__old_refusals_removed_actions_kept() {
    let db = TestDb::new().await;
    let rows = "INSERT INTO audit (at, subject, kind, role, action, result, error_code)
                SELECT now() - d * interval '1 day', 'x' || d, 'token', 'viewer', 'switch', r, CASE r WHEN 'refused' THEN 'NOT_ALLOWED' END
                FROM unnest(ARRAY[200, 100, 31, 29, 1]) d, unnest(ARRAY['done', 'refused']) r";
    sqlx::raw_sql(rows).execute(&mut db.psql().await).await.unwrap();
    let left = async || -> (i64, i64) {
        let sql =
            "SELECT count(*) FILTER (WHERE result = 'done'), count(*) FILTER (WHERE result = 'refused') FROM audit";
        sqlx::query_as(sql).fetch_one(&mut db.psql().await).await.unwrap()
    };
    let run = Keeper::of(&db.db, RetentionKind::Runs, "90d").tick(1).await;
    assert_eq!((run.state.as_str(), run.removed), ("done", 2));
    assert_eq!(left().await, (5, 3));
    // Nothing younger than thirty days is removed, whatever the setting.
    let gone: i64 =
        sqlx::query_scalar("SELECT forget_refusals(now(), 100)").fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!((gone, left().await), (1, (5, 2)));
    for sql in [
        "DELETE FROM audit WHERE result = 'refused'",
        "BEGIN; SELECT set_config('panda.forgets', 'refusals', true); DELETE FROM audit WHERE result = 'done'",
        "BEGIN; SELECT set_config('panda.forgets', 'refusals', true); DELETE FROM audit WHERE at > now() - interval '30 days'",
        "BEGIN; SELECT set_config('panda.forgets', 'refusals', true); UPDATE audit SET subject = 'y'",
    ] {
        let error = sqlx::raw_sql(sql).execute(&mut db.psql().await).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn retention__watched_deployment_and_later_ones_wait() {
    let db = TestDb::new().await;
    let mut watched = Fixture::begin(&db.db).await;
    watched.build_lines(1, 3).await;
    watched.switched().await;
    let (before, after) = (built(&db, 3).await, built(&db, 3).await);
    age(&db, before.id(), 42).await;
    age(&db, watched.id(), 41).await;
    age(&db, after.id(), 40).await;
    let keeper = Keeper::of(&db.db, RetentionKind::Events, "30d");
    assert_eq!(keeper.tick(1).await.removed, 6, "those of the deployment before it");
    assert_eq!(codes(&db, watched.id()).await.len(), 5, "its reader may resume anywhere");
    assert_eq!(codes(&db, after.id()).await.len(), 7, "the progress is a time, so that no deployment is passed over");
    assert_eq!(db.db.end_overdue_watches(std::time::Duration::from_hours(72)).await.unwrap(), 1);
    assert_eq!(keeper.tick(2).await.removed, 10);
}

#[tokio::test]
async fn retention__stored_histories_removed_with_events() {
    let db = TestDb::new().await;
    let (old, young) = (built(&db, 1).await, built(&db, 1).await);
    age(&db, old.id(), 200).await;
    let insert = "INSERT INTO history_pieces (deployment_id, version, attempt, execution_arn, first_event_id, last_event_id, events)
                  SELECT id, 1, 1, 'arn', 1, 1, '[]' FROM deployments";
    sqlx::query(insert).execute(&mut db.psql().await).await.unwrap();
    let kept = async || {
        let sql = "SELECT deployment_id FROM history_pieces ORDER BY 1";
        sqlx::query_scalar::<_, String>(sql).fetch_all(&mut db.psql().await).await.unwrap()
    };
    Keeper::of(&db.db, RetentionKind::BuildLines, "30d").tick(1).await;
    assert_eq!(kept().await.len(), 2);
    Keeper::of(&db.db, RetentionKind::Events, "180d").tick(1).await;
    assert_eq!(kept().await, [young.id()]);
    age(&db, young.id(), 200).await;
    db.db.archive_deployments(&[young.id().to_owned()]).await.unwrap();
    assert_eq!(kept().await, [""; 0], "deleted with its deployment");
}
