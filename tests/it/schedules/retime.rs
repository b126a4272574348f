//! Next times after an update of the time zone database, and after a change of a schedule's zone.

use chrono::TimeDelta;
use panda::commands::schedules::change::{ScheduleEdit, change};
use panda::commands::schedules::retime::retime_outdated;
use panda::domain::cron::ZONE_EDITION;
use pretty_assertions::assert_eq;

use super::*;
use crate::support::environment::tiny;
use crate::support::panda::Panda;
use crate::support::wait_for;

/// Leaves the schedule as a program with an older database of time zones would: an hour off.
async fn compute_with_old_rules(test: &TestDb, id: &str) {
    let sql =
        "UPDATE schedules SET next_run_at = next_run_at + interval '1 hour', zone_edition = '2000a' WHERE id = $1";
    sqlx::query(sql).bind(id).execute(&mut test.psql().await).await.unwrap();
}

async fn edition(test: &TestDb, id: &str) -> String {
    let sql = "SELECT zone_edition FROM schedules WHERE id = $1";
    sqlx::query_scalar(sql).bind(id).fetch_one(&mut test.psql().await).await.unwrap()
}

/// A yearly time in Berlin.
async fn yearly(db: &Db) -> ScheduleSpec {
    let cron = Cron::parse("0 9 1 7 *").unwrap();
    ScheduleSpec { cron, zone: cron::zone("Europe/Berlin").unwrap(), ..hourly(db).await }
}

#[tokio::test]
async fn schedule_retime__newer_zone_database_changes_next_time() {
    let test = TestDb::new().await;
    let db = &test.db;
    let (id, due) = (made(db, &yearly(db).await).await, made(db, &hourly(db).await).await);
    assert_eq!(edition(&test, &id).await, ZONE_EDITION);
    let right = schedule(db, &id).await.next_run_at.unwrap();
    assert_eq!(retime_outdated(db, ZONE_EDITION).await.unwrap(), [], "nothing is outdated");
    compute_with_old_rules(&test, &id).await;
    compute_with_old_rules(&test, &due).await;
    let since = due_now(&test, &due).await;
    // A program with an even older database changes nothing.
    assert_eq!(retime_outdated(db, "1999z").await.unwrap(), []);
    let changed = retime_outdated(db, ZONE_EDITION).await.unwrap();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(
        (&changed[0].schedule, changed[0].before - right, changed[0].next),
        (&id, TimeDelta::hours(1), Some(right))
    );
    let after = schedule(db, &id).await;
    assert_eq!((after.next_run_at, after.version), (Some(right), 1));
    assert_eq!(edition(&test, &id).await, ZONE_EDITION);
    assert_eq!(schedule(db, &due).await.next_run_at, Some(since), "a due time is left to its run");
    deployment(look(db).await);
    assert_eq!(edition(&test, &due).await, ZONE_EDITION);
}

#[tokio::test]
async fn schedule_retime__replica_checks_by_itself() {
    let env = Environment::with_files(tiny()).await;
    let db = &env.db.db;
    let id = made(db, &yearly(db).await).await;
    let right = schedule(db, &id).await.next_run_at;
    compute_with_old_rules(&env.db, &id).await;
    let server = Panda::builder().environment(&env).server().await;
    wait_for("the next time is right", async || schedule(db, &id).await.next_run_at == right).await;
    server.stop().await;
}

#[tokio::test]
async fn schedule_retime__change_of_zone_changes_next_time() {
    let test = TestDb::new().await;
    let db = &test.db;
    let berlin = yearly(db).await;
    let id = made(db, &berlin).await;
    let row = schedule(db, &id).await;
    let seoul = ScheduleSpec { zone: cron::zone("Asia/Seoul").unwrap(), ..berlin };
    let changed = change(db, &id, &seoul, ScheduleEdit::new(&row, &seoul), &Caller::local()).await.unwrap();
    // In July Berlin is at UTC+2, Seoul at UTC+9.
    assert_eq!(row.next_run_at.unwrap() - changed.next_run_at.unwrap(), TimeDelta::hours(7));
}
