use panda::commands::CommandError;
use panda::commands::schedules::change::{ScheduleEdit, change, pause};
use panda::commands::schedules::error::ScheduleError;
use panda::domain::schedule::Missed;
use pretty_assertions::assert_eq;

use super::*;
use crate::http::count;

#[tokio::test]
async fn missed__run_once_or_skipped_as_configured() {
    let test = TestDb::new().await;
    let db = &test.db;
    // Never due now: the full hours of 2 to 5 hours ago were missed, and the next is at least half an hour away.
    let hours = "0 0-23 * * *";
    for (missed, result) in [(Missed::RunOnce, "started"), (Missed::Skip, "skipped")] {
        let cron = Cron::parse(hours).unwrap();
        let id = made(db, &ScheduleSpec { missed, cron, ..hourly(db).await }).await;
        let first = due(&test, &id, 4).await;
        let ran = look(db).await.unwrap();
        let on_time = Utc::now().minute() == 0;
        let runs = runs(db, &id).await;
        let oldest = runs.last().unwrap();
        assert_eq!((oldest.due_at, oldest.result.as_str()), (first, result), "{runs:?}");
        // In the first minute of an hour the last one is on time and started separately.
        assert!(oldest.times == 5 || (on_time && oldest.times == 4), "{runs:?}");
        assert!(runs.len() == 1 || on_time, "{runs:?}");
        assert_eq!(ran.skipped.is_some(), missed == Missed::Skip);
        assert!(schedule(db, &id).await.next_run_at.unwrap() > Utc::now());
        end_all(&test).await;
    }
    assert!(count(&test, "deployments").await >= 1);
}

#[tokio::test]
async fn missed__one_minute_late_is_on_time() {
    let test = TestDb::new().await;
    let id = made(&test.db, &ScheduleSpec { missed: Missed::Skip, ..hourly(&test.db).await }).await;
    let sql = "UPDATE schedules SET next_run_at = now() - interval '50 s' WHERE id = $1";
    sqlx::query(sql).bind(&id).execute(&mut test.psql().await).await.unwrap();
    let ran = look(&test.db).await.unwrap();
    assert!(ran.skipped.is_none() && ran.late >= chrono::TimeDelta::seconds(50), "{ran:?}");
    deployment(Some(ran));
}

#[tokio::test]
async fn missed__times_while_paused_not_counted() {
    let test = TestDb::new().await;
    let db = &test.db;
    let wanted = hourly(db).await;
    let id = made(db, &wanted).await;
    due(&test, &id, 3).await;
    pause(db, &id, &Caller::local()).await.unwrap();
    let version = schedule(db, &id).await.version;
    let edit = ScheduleEdit { version, retime: true };
    let resumed = change(db, &id, &wanted, edit, &Caller::local()).await.unwrap();
    assert!(!resumed.paused && resumed.next_run_at.unwrap() > Utc::now());
    assert_eq!((look(db).await, runs(db, &id).await.len()), (None, 0));
    let stale = change(db, &id, &wanted, edit, &Caller::local()).await.unwrap_err();
    assert!(matches!(stale, CommandError::Schedule(ScheduleError::Changed(_))), "{stale:?}");
}
