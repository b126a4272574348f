//! A replica that dies or leaves loses nothing and repeats nothing.

use std::collections::HashSet;

use panda::sandbox::git::SourceFile;

use super::{Replica, deploy, events, status};
use crate::support::wait_for;
use crate::support::world::{World, hello};

/// The hello example whose build takes a while after its first line.
pub fn slow_build(seconds: u32) -> Vec<SourceFile> {
    let mut files = hello("2.0.0");
    let dockerfile = files.iter_mut().find(|file| file.path == "Dockerfile").unwrap();
    let text = String::from_utf8(dockerfile.contents.clone()).unwrap();
    // Its own step each time: one that another test has built would come from the cache, and take no time.
    let own = uuid::Uuid::new_v4();
    let slow = format!(
        "RUN echo slow step {own}; i=0; while [ $i -lt {seconds} ]; do sleep 1; i=$((i+1)); echo tick $i; done\n"
    );
    dockerfile.contents = text.replacen('\n', &format!("\n{slow}"), 1).into_bytes();
    let from = String::from_utf8(dockerfile.contents.clone()).unwrap();
    assert!(from.lines().any(|line| line.starts_with("FROM")), "{from}");
    files
}

pub async fn building(world: &World, id: &str) {
    wait_for("the build is under way", async || {
        let told = events(world, id).await;
        told.iter().any(|event| event.params.get("message").is_some_and(|line| line == "tick 1")).then_some(())
    })
    .await;
}

/// One push, one execution, every event once and in order.
pub async fn undisturbed(world: &World, id: &str) {
    let told = events(world, id).await;
    let seqs: Vec<i64> = told.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(told.len()).unwrap()).collect::<Vec<_>>());
    let once = told.iter().filter(|event| !event.code.ends_with("_progress")).map(|event| event.code.as_str());
    let mut seen = HashSet::new();
    assert!(once.clone().all(|code| seen.insert(code)), "told once: {:?}", once.collect::<Vec<_>>());
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(effects.pushes.values().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(effects.executions.values().copied().collect::<Vec<_>>(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_in_a_build_is_taken_over() {
    let world = World::with_files(slow_build(3)).await;
    let dying = Replica::start(&world, &["--lease-ms=1500"]);
    let id = deploy(&world, "main").await;
    building(&world, &id).await;
    dying.kill();
    let other = Replica::start(&world, &["--lease-ms=1500"]);
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&world, &id).await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_told_to_leave_stops_its_build_and_hands_it_over() {
    let world = World::with_files(slow_build(30)).await;
    let leaving = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    building(&world, &id).await;
    let asked = std::time::Instant::now();
    leaving.stop().await;
    assert!(
        asked.elapsed() < std::time::Duration::from_secs(15),
        "it did not wait for the build: {:?}",
        asked.elapsed()
    );
    let mut psql = world.db.psql().await;
    let owner: Option<uuid::Uuid> = sqlx::query_scalar("SELECT replica_id FROM deployments WHERE id = $1")
        .bind(&id)
        .fetch_one(&mut psql)
        .await
        .unwrap();
    assert_eq!(owner, None, "the row was given back");
    let step: String =
        sqlx::query_scalar("SELECT step FROM deployments WHERE id = $1").bind(&id).fetch_one(&mut psql).await.unwrap();
    assert_eq!(step, "build_image");
}
