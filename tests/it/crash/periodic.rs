//! SIGKILL in the tasks of every ten seconds: a start at the end of a freeze, and a policy's own switch.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::reconcile::gates::store;
use crate::reconcile::{codes, deploy, events, status};
use crate::support::environment::{Environment, tiny};
use crate::support::process::Serve;
use crate::support::wait_for;

const FLAGS: [&str; 2] = ["--lease-ms=1000", "--database-max-connections=10"];

/// Runs a replica until it is killed at the occurrence `times` of `point`.
async fn killed_at(env: &Environment, point: &str, times: usize) {
    let armed = format!("replica/{point}={}*off->return", times - 1);
    let mut replica = Serve::start(env, &FLAGS, &[("FAILPOINTS", &armed)]);
    wait_for(&format!("it is killed at {armed}"), async || {
        let ended = replica.ended()?;
        assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32), "{ended}:\n{}", replica.log());
        Some(())
    })
    .await;
}

/// The first pass reports the freeze, the second one, at its end, starts the deployment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash__killed_around_a_start_after_a_freeze() {
    let first = Environment::with_files(tiny()).await;
    for (point, times) in [("dequeue/before", 1), ("dequeue/after", 1), ("dequeue/before", 2), ("dequeue/after", 2)] {
        let env = first.neighbour(tiny()).await;
        let sql = "INSERT INTO freezes (id, scope, holds, reason, created_by, starts_at, ends_at)
                   VALUES ('frz_1', 'all', 'starts', 'sale', 'alice', clock_timestamp(), clock_timestamp() + interval '6 seconds')";
        sqlx::query(sql).execute(&mut env.db.psql().await).await.unwrap();
        let id = deploy(&env, "main").await;
        killed_at(&env, point, times).await;
        let next = Serve::start(&env, &FLAGS, &[]);
        status(&env, &id, &["DEPLOYMENT_READY"]).await;
        let emitted = events(&env, &id).await;
        let emitted = codes(&emitted);
        let frozen = emitted.iter().filter(|code| **code == "deployment_frozen").count();
        // A replica that dies before it reports may be followed after the end of the freeze.
        assert!(
            frozen == 1 || (frozen == 0 && (point, times) == ("dequeue/before", 1)),
            "{point} {times}: {emitted:?}"
        );
        assert_eq!(emitted.iter().filter(|code| **code == "clone_started").count(), 1, "{point} {times}: {emitted:?}");
        let effects = env.sandbox.effects(&env.ecr_repository());
        assert_eq!(effects.executions.values().copied().collect::<Vec<_>>(), [1], "{point} {times}: {effects:?}");
        drop(next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash__killed_around_an_automatic_switch() {
    let first = Environment::with_files(tiny()).await;
    for point in ["automatic switch/before", "automatic switch/after"] {
        let env = first.neighbour(tiny()).await;
        store(&env, json!({"autoSwitch": "when_gates_pass"})).await;
        let id = deploy(&env, "main").await;
        killed_at(&env, point, 1).await;
        let next = Serve::start(&env, &FLAGS, &[]);
        status(&env, &id, &["COMPLETED"]).await;
        let effects = env.sandbox.effects(&env.ecr_repository());
        assert_eq!(effects.continued.values().copied().collect::<Vec<_>>(), [1], "{point}: {effects:?}");
        let sql = "SELECT count(*) FROM audit WHERE target = $1 AND action = 'switch'";
        let requests: i64 = sqlx::query_scalar(sql).bind(&id).fetch_one(&mut env.db.psql().await).await.unwrap();
        assert_eq!(requests, 1, "{point}");
        drop(next);
    }
}
