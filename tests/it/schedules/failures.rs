use panda::commands::connect::remove::remove;
use panda::domain::deployment::Concurrency;
use pretty_assertions::assert_eq;
use sqlx::Executor;

use super::*;
use crate::http::{Fixture, count};

/// Asserts that its only run started nothing, for this reason; returns the message.
async fn refused(test: &TestDb, id: &str, result: &str, code: &str) -> String {
    let runs = runs(&test.db, id).await;
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!((runs[0].result.as_str(), runs[0].error_code.as_deref()), (result, Some(code)), "{runs:?}");
    let schedule = schedule(&test.db, id).await;
    assert_eq!(schedule.last_error_code.as_deref(), Some(code));
    assert!(schedule.next_run_at.unwrap() > Utc::now(), "the schedule stays active");
    runs[0].error_message.clone().unwrap()
}

#[tokio::test]
async fn schedule__busy_target_refuses_queues_or_supersedes() {
    let test = TestDb::new().await;
    let db = &test.db;
    let reject = hourly(db).await;
    let id = made(db, &reject).await;
    let fixture = Fixture::begin_at(db, "acme", "shop", "123456789012").await;
    due_now(&test, &id).await;
    look(db).await.unwrap();
    let why = refused(&test, &id, "refused", "TARGET_TAKEN").await;
    assert!(why.contains(fixture.id()), "{why}");
    for (concurrency, superseded) in [(Concurrency::Queue, 0), (Concurrency::Supersede, 2)] {
        let id = made(db, &ScheduleSpec { concurrency, ..reject.clone() }).await;
        due_now(&test, &id).await;
        let Some(ScheduledRun::Started { deployment, superseded: ended }) = look(db).await.unwrap().run else {
            panic!("not started")
        };
        assert_eq!(ended.len(), superseded);
        assert!(db.deployment(&deployment).await.unwrap().unwrap().queue_position.is_some());
    }
}

#[tokio::test]
async fn schedule__removed_connection_fails_visibly() {
    let test = TestDb::new().await;
    let db = &test.db;
    for gone in ["gh", "aws"] {
        let wanted = hourly(db).await;
        let id = made(db, &wanted).await;
        let connection = if gone == "gh" { &wanted.github_connection_id } else { &wanted.aws_connection_id };
        remove(db, connection, &Caller::local()).await.unwrap();
        due_now(&test, &id).await;
        look(db).await.unwrap();
        let why = refused(&test, &id, "failed", "CONNECTION_REMOVED").await;
        assert!(why.contains(connection.as_str()), "{why}");
    }
    assert_eq!(count(&test, "deployments").await, 0);
}

#[tokio::test]
async fn schedule__limited_to_owner_permissions() {
    let test = TestDb::new().await;
    let db = &test.db;
    let toys = Scope::of(&["toys/*".to_owned()]).unwrap();
    // A scope without the repository, and one with it but with an AWS connection for all repositories.
    for (scope, code) in [(toys, "OUT_OF_SCOPE"), (Scope::of(&["acme/shop".to_owned()]).unwrap(), "OUT_OF_SCOPE")] {
        let id = made_by(db, &hourly(db).await, &caller("carol", Role::Deployer, scope)).await;
        due_now(&test, &id).await;
        look(db).await.unwrap();
        refused(&test, &id, "failed", code).await;
    }
    let mut fixture = Fixture::begin_at(db, "acme", "shop", "123456789012").await;
    fixture.ready().await;
    test.psql().await.execute("UPDATE deployments SET switch_requested_at = now()").await.unwrap();
    let supersede = ScheduleSpec { concurrency: Concurrency::Supersede, ..hourly(db).await };
    let id = made_by(db, &supersede, &caller("dora", Role::Deployer, Scope::All)).await;
    due_now(&test, &id).await;
    look(db).await.unwrap();
    refused(&test, &id, "refused", "NOT_ALLOWED").await;
    let id = made_by(db, &supersede, &caller("anna", Role::Approver, Scope::All)).await;
    due_now(&test, &id).await;
    deployment(look(db).await);
}

#[tokio::test]
async fn schedule__database_refusal_does_not_block_others() {
    let test = TestDb::new().await;
    let db = &test.db;
    let broken =
        made(db, &ScheduleSpec { requested: panda::domain::request::Requested::branch("broken"), ..hourly(db).await })
            .await;
    let good = made(db, &hourly(db).await).await;
    test.psql().await.execute("ALTER TABLE deployments ADD CHECK (branch <> 'broken')").await.unwrap();
    due(&test, &broken, 0).await;
    due_now(&test, &good).await;
    let ran = [look(db).await.unwrap(), look(db).await.unwrap()];
    assert!(ran.iter().all(|ran| ran.run.is_some()), "{ran:?}");
    refused(&test, &broken, "failed", "INTERNAL").await;
    assert_eq!(runs(db, &good).await[0].result, "started");
}

#[tokio::test]
async fn schedule__unreadable_expression_waits_for_a_fix() {
    let test = TestDb::new().await;
    let db = &test.db;
    let id = made(db, &hourly(db).await).await;
    test.psql().await.execute("UPDATE schedules SET time_zone = 'Mars/Olympus'").await.unwrap();
    due_now(&test, &id).await;
    look(db).await.unwrap();
    let schedule = schedule(db, &id).await;
    assert_eq!((schedule.next_run_at, schedule.last_error_code.as_deref()), (None, Some("SCHEDULE_INVALID")));
    assert!(schedule.last_error_message.unwrap().starts_with("timeZone: "));
    assert_eq!(look(db).await, None);
}
