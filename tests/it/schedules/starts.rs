use std::sync::Arc;

use futures_util::future::join_all;
use panda::commands::CommandError;
use panda::commands::schedules::change::pause;
use panda::commands::schedules::delete::delete;
use panda::commands::schedules::error::ScheduleError;
use panda::domain::deployment::Concurrency;
use panda::domain::principal::{Caller, Role, Scope};
use pretty_assertions::assert_eq;

use super::*;
use crate::http::count;
use crate::support::environment::tiny;
use crate::support::panda::Panda;
use crate::support::wait_for;

#[tokio::test]
async fn schedule_start__never_early() {
    let test = TestDb::new().await;
    let id = made(&test.db, &hourly(&test.db).await).await;
    assert_eq!(look(&test.db).await, None);
    let next = schedule(&test.db, &id).await.next_run_at.unwrap();
    assert!(next > Utc::now() && next.minute() == 0, "{next}");
    let wait = test.db.next_schedule().await.unwrap().unwrap();
    assert!(wait > chrono::TimeDelta::zero() && wait <= chrono::TimeDelta::hours(1), "{wait}");
}

#[tokio::test]
async fn schedule_start__due_started_once_and_recorded() {
    let test = TestDb::new().await;
    let db = &test.db;
    let alice = caller("alice", Role::Deployer, Scope::All);
    let id = made_by(db, &hourly(db).await, &alice).await;
    let due_at = due_now(&test, &id).await;
    let deployment = deployment(look(db).await);
    assert_eq!(look(db).await, None);
    let after = schedule(db, &id).await;
    assert!(after.next_run_at.unwrap() > Utc::now() && after.last_due_at == Some(due_at), "{after:?}");
    let runs = runs(db, &id).await;
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].due_at, runs[0].result.as_str(), runs[0].times), (due_at, "started", 1));
    assert_eq!(runs[0].deployment_id.as_deref(), Some(deployment.as_str()));
    let view = db.deployment(&deployment).await.unwrap().unwrap();
    assert_eq!(
        (view.status.as_str(), view.branch.as_str(), view.schedule_id.as_deref()),
        ("RUNNING", "main", Some(&*id))
    );
    let sql = "SELECT d.started_by, a.subject, a.kind, a.role FROM deployments d JOIN audit a ON a.target = d.id AND a.action = 'deploy'";
    let who: (String, String, String, String) = sqlx::query_as(sql).fetch_one(&mut test.psql().await).await.unwrap();
    let subject = format!("schedule:{id}");
    assert_eq!(who, (subject.clone(), subject, "schedule".to_owned(), "deployer".to_owned()));
}

#[tokio::test]
async fn schedule_start__concurrent_pollers_start_once() {
    let test = TestDb::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let mut wanted = hourly(&test.db).await;
        wanted.concurrency = Concurrency::Queue;
        ids.push(made(&test.db, &wanted).await);
    }
    for round in 1..=4 {
        for id in &ids {
            due_now(&test, id).await;
        }
        let pollers = join_all((0..8).map(|_| async {
            let mut started = 0;
            while let Some(ran) = look(&test.db).await {
                started += usize::from(ran.run.is_some());
            }
            started
        }));
        assert_eq!(pollers.await.into_iter().sum::<usize>(), 5, "round {round}");
        assert_eq!(count(&test, "deployments").await, 5 * round);
        assert_eq!(count(&test, "schedule_runs").await, 5 * round);
    }
}

#[tokio::test]
async fn schedule_start__repeated_local_time_started_once() {
    let test = TestDb::new().await;
    let id = made(&test.db, &hourly(&test.db).await).await;
    let due_at = due_now(&test, &id).await;
    deployment(look(&test.db).await);
    end_all(&test).await;
    // As after a change that read the next time a moment before it was started.
    let sql = "UPDATE schedules SET next_run_at = $2 WHERE id = $1";
    sqlx::query(sql).bind(&id).bind(due_at).execute(&mut test.psql().await).await.unwrap();
    let ran = look(&test.db).await.unwrap();
    assert_eq!((ran.run, ran.skipped), (None, None));
    assert_eq!(count(&test, "deployments").await, 1);
    assert!(schedule(&test.db, &id).await.next_run_at.unwrap() > Utc::now());
}

#[tokio::test]
async fn schedule_start__paused_or_deleted_starts_nothing() {
    let test = TestDb::new().await;
    let db = &test.db;
    let (paused, deleted) = (made(db, &hourly(db).await).await, made(db, &hourly(db).await).await);
    due_now(&test, &paused).await;
    due_now(&test, &deleted).await;
    assert!(pause(db, &paused, &Caller::local()).await.unwrap().next_run_at.is_none());
    delete(db, &deleted, &Caller::local()).await.unwrap();
    let again = delete(db, &deleted, &Caller::local()).await.unwrap_err();
    assert!(matches!(again, CommandError::Schedule(ScheduleError::NotFound(_))), "{again:?}");
    assert_eq!((look(db).await, db.next_schedule().await.unwrap()), (None, None));
    assert!(db.schedule(&Scope::All, &deleted).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedule_start__two_servers_start_once_and_complete() {
    let env = Environment::with_files(tiny()).await;
    let wanted = hourly_in(&env).await;
    let id = made(&env.db.db, &wanted).await;
    let first = Panda::builder().environment(&env).server().await;
    let second = Panda::builder().environment(&env).server().await;
    let due_at = due_now(&env.db, &id).await;
    let test = Arc::clone(&env.db);
    let started = wait_for("the deployment is started", async || {
        runs(&test.db, &id).await.pop().and_then(|run| run.deployment_id)
    })
    .await;
    let late = runs(&test.db, &id).await[0].at - due_at;
    assert!(late < chrono::TimeDelta::seconds(15), "{late}");
    crate::reconcile::status(&env, &started, &["DEPLOYMENT_READY"]).await;
    assert_eq!((count(&test, "deployments").await, count(&test, "schedule_runs").await), (1, 1));
    first.stop().await;
    second.stop().await;
}
