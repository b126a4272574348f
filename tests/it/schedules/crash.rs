use pretty_assertions::assert_eq;

use super::*;
use crate::http::count;
use crate::support::environment::tiny;
use crate::support::process::Serve;
use crate::support::wait_for;

/// Fail points in the start of a schedule, and the number of starts that are kept.
const PLACES: [(&str, i64); 3] =
    [("replica/schedule claimed", 0), ("replica/schedule made", 0), ("replica/schedule committed", 1)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedule__start_is_atomic_when_killed() {
    let env = Environment::with_files(tiny()).await;
    for (place, kept) in PLACES {
        let env = env.neighbour(tiny()).await;
        let wanted = hourly_in(&env).await;
        let id = made(&env.db.db, &wanted).await;
        let due_at = due_now(&env.db, &id).await;
        let mut dying = Serve::start(&env, &[], &[("FAILPOINTS", &format!("{place}=return"))]);
        dying.wait().await;
        assert_eq!(count(&env.db, "deployments").await, kept, "{place}: {}", dying.log());
        assert_eq!(count(&env.db, "schedule_runs").await, kept, "{place}");
        let next = schedule(&env.db.db, &id).await.next_run_at.unwrap();
        assert_eq!(next == due_at, kept == 0, "{place}");
        let other = Serve::start(&env, &[], &[]);
        wait_for("another starts it, or finds it started", async || count(&env.db, "deployments").await == 1).await;
        let run = wait_for("the run is recorded", async || runs(&env.db.db, &id).await.pop()).await;
        assert_eq!((run.due_at, run.result.as_str()), (due_at, "started"), "{place}");
        crate::reconcile::status(&env, &run.deployment_id.unwrap(), &["DEPLOYMENT_READY"]).await;
        assert_eq!((count(&env.db, "deployments").await, count(&env.db, "schedule_runs").await), (1, 1), "{place}");
        drop(other);
    }
}
