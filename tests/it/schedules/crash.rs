use pretty_assertions::assert_eq;

use super::*;
use crate::http::count;
use crate::support::process::Serve;
use crate::support::wait_for;
use crate::support::world::{World, tiny};

/// The places at which a server dies with a schedule in its hands, and whether the start is kept then.
const PLACES: [(&str, i64); 3] =
    [("replica/schedule claimed", 0), ("replica/schedule made", 0), ("replica/schedule committed", 1)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_at_a_start_has_made_all_of_it_or_nothing_and_another_goes_on() {
    let world = World::with_files(tiny()).await;
    for (place, kept) in PLACES {
        let world = world.neighbour(tiny()).await;
        let (github, aws) = crate::reconcile::connect(&world, "main", crate::support::world::TOKEN).await;
        let wanted = Wanted {
            github_connection_id: github.id,
            aws_connection_id: aws.id,
            owner: github.owner,
            repo: github.repo,
            ..hourly(&world.db.db).await
        };
        let id = made(&world.db.db, &wanted).await;
        let due_at = due_now(&world.db, &id).await;
        let mut dying = Serve::start(&world, &[], &[("FAILPOINTS", &format!("{place}=return"))]);
        dying.wait().await;
        assert_eq!(count(&world.db, "deployments").await, kept, "{place}: {}", dying.log());
        assert_eq!(count(&world.db, "schedule_runs").await, kept, "{place}");
        let next = schedule(&world.db.db, &id).await.next_run_at.unwrap();
        assert_eq!(next == due_at, kept == 0, "{place}");
        let other = Serve::start(&world, &[], &[]);
        wait_for("another starts it, or finds it started", async || count(&world.db, "deployments").await == 1).await;
        let run = wait_for("it is recorded", async || runs(&world.db.db, &id).await.pop()).await;
        assert_eq!((run.due_at, run.result.as_str()), (due_at, "started"), "{place}");
        crate::reconcile::status(&world, &run.deployment_id.unwrap(), &["DEPLOYMENT_READY"]).await;
        assert_eq!((count(&world.db, "deployments").await, count(&world.db, "schedule_runs").await), (1, 1), "{place}");
        drop(other);
    }
}
