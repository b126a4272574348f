//! A replica that dies or leaves loses nothing and repeats nothing.

use std::collections::HashSet;

use panda_sandbox::git::SourceFile;

use super::{Replica, deploy, events, status};
use crate::support::environment::{Environment, hello};
use crate::support::wait_for;

/// The hello example whose build takes a while after its first line.
pub fn slow_build(seconds: u32) -> Vec<SourceFile> {
    let mut files = hello("2.0.0");
    let dockerfile = files.iter_mut().find(|file| file.path == "Dockerfile").unwrap();
    let text = String::from_utf8(dockerfile.contents.clone()).unwrap();
    // A unique step: one that another test has built would come from the cache and take no time.
    let own = uuid::Uuid::new_v4();
    let slow = format!(
        "RUN echo slow step {own}; i=0; while [ $i -lt {seconds} ]; do sleep 1; i=$((i+1)); echo tick $i; done\n"
    );
    dockerfile.contents = text.replacen('\n', &format!("\n{slow}"), 1).into_bytes();
    let from = String::from_utf8(dockerfile.contents.clone()).unwrap();
    assert!(from.lines().any(|line| line.starts_with("FROM")), "{from}");
    files
}

pub async fn building(env: &Environment, id: &str) {
    wait_for("the build is under way", async || {
        let emitted = events(env, id).await;
        emitted.iter().any(|event| event.params.get("message").is_some_and(|line| line == "tick 1")).then_some(())
    })
    .await;
}

/// Asserts one push, one execution, and every event once and in order.
pub async fn undisturbed(env: &Environment, id: &str) {
    let emitted = events(env, id).await;
    let seqs: Vec<i64> = emitted.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(emitted.len()).unwrap()).collect::<Vec<_>>());
    let once = emitted.iter().filter(|event| !event.code.ends_with("_progress")).map(|event| event.code.as_str());
    let mut seen = HashSet::new();
    assert!(once.clone().all(|code| seen.insert(code)), "emitted once: {:?}", once.collect::<Vec<_>>());
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.pushes.values().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(effects.executions.values().copied().collect::<Vec<_>>(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeover__replica_death_during_build() {
    let env = Environment::with_files(slow_build(3)).await;
    let dying = Replica::start(&env, &["--lease-ms=1500"]);
    let id = deploy(&env, "main").await;
    building(&env, &id).await;
    dying.kill();
    let other = Replica::start(&env, &["--lease-ms=1500"]);
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&env, &id).await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown__build_finishes_within_its_drain_time() {
    let env = Environment::with_files(slow_build(4)).await;
    let leaving = Replica::start(&env, &["--build-drain-ms=120000"]);
    let id = deploy(&env, "main").await;
    building(&env, &id).await;
    leaving.stop().await;
    let mut psql = env.db.psql().await;
    let sql = "SELECT step, replica_id FROM deployments WHERE id = $1";
    let left: (String, Option<uuid::Uuid>) = sqlx::query_as(sql).bind(&id).fetch_one(&mut psql).await.unwrap();
    assert_ne!(left.0, "build_image", "the build ended");
    assert_eq!(left.1, None, "the row was released");
    let other = Replica::start(&env, &[]);
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let sql = "SELECT count(*) FROM step_runs WHERE deployment_id = $1 AND step = 'build_image'";
    let builds: i64 = sqlx::query_scalar(sql).bind(&id).fetch_one(&mut psql).await.unwrap();
    assert_eq!(builds, 1, "no replica repeated it");
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown__build_stopped_and_handed_over() {
    let env = Environment::with_files(slow_build(30)).await;
    let leaving = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    building(&env, &id).await;
    let asked = std::time::Instant::now();
    leaving.stop().await;
    assert!(
        asked.elapsed() < std::time::Duration::from_secs(15),
        "it did not wait for the build: {:?}",
        asked.elapsed()
    );
    let mut psql = env.db.psql().await;
    let owner: Option<uuid::Uuid> = sqlx::query_scalar("SELECT replica_id FROM deployments WHERE id = $1")
        .bind(&id)
        .fetch_one(&mut psql)
        .await
        .unwrap();
    assert_eq!(owner, None, "the row was released");
    let step: String =
        sqlx::query_scalar("SELECT step FROM deployments WHERE id = $1").bind(&id).fetch_one(&mut psql).await.unwrap();
    assert_eq!(step, "build_image");
}
