//! A backup, and a restore into another cluster, by the commands of docs/operations.md.

use std::process::Stdio;
use std::sync::Arc;

use panda::sandbox::parts::{Postgres, PostgresOptions, temporary_folder};
use panda::sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;
use secrecy::ExposeSecret as _;
use tokio::process::Command;

use super::reader::Service;
use super::{Flight, Pod};
use crate::reconcile::takeover::undisturbed;
use crate::reconcile::{events, status};
use crate::support::db::TestDb;
use crate::support::world::{World, tiny};

/// The commands below a heading of the document.
fn commands(heading: &str) -> &'static str {
    let document = include_str!("../../../docs/operations.md");
    let section = document.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no section {heading}"));
    section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap()
}

/// Runs them as somebody would who has the program and these variables.
async fn type_in(commands: &str, folder: &std::path::Path, variables: &[(&str, &str)]) {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_panda")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let shell = Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(folder)
        .env("PATH", path)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output();
    let ended = shell.await.unwrap();
    assert!(ended.status.success(), "{commands}: {}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_backed_up_goes_on_in_another_cluster_and_does_nothing_a_second_time() {
    let world = World::with_files(tiny()).await;
    let service = Service::default();
    let pod = Pod::start(&world, &service, None).await;
    let stuck = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    world.sandbox.faults().set(Faults { executions: [(world.ecr_repository(), stuck)].into(), ..Faults::default() });
    let followed = Flight::start(world.same(), &pod.front, &service).await;
    followed.is_at("follow_execution").await;
    let ready = Flight::start(world.another_repository(tiny()).await, &pod.front, &service).await;
    ready.is("DEPLOYMENT_READY").await;
    let done = Flight::start(world.another_repository(tiny()).await, &pod.front, &service).await;
    done.completes(&pod.front).await;
    let told = events(&done.world, &done.id).await;

    let folder = tempfile::tempdir().unwrap();
    type_in(commands("Backing up"), folder.path(), &[("PANDA_DATABASE_URL", world.db.url())]).await;
    // What the backup does not know: both come to their end.
    world.sandbox.faults().clear();
    for flight in [&followed, &ready] {
        flight.completes(&pod.front).await;
    }
    pod.end(&service).await;
    let shifted = shifts(&world);

    let dir = temporary_folder().unwrap();
    let options = PostgresOptions { data_dir: dir.path().join("postgres"), durable: false };
    let cluster = Postgres::start(options).await.unwrap();
    // The cluster has a database of that name: the restore makes its own, with the name of the document, on a server that has none.
    let (admin, name) = (cluster.url_of("postgres").expose_secret().to_owned(), "panda");
    type_in(&format!("dropdb --maintenance-db=\"$ADMIN_URL\" {name}"), folder.path(), &[("ADMIN_URL", &admin)]).await;
    let url = cluster.url_of(name).expose_secret().to_owned();
    type_in(commands("A restore"), folder.path(), &[("ADMIN_URL", &admin), ("PANDA_DATABASE_URL", &url)]).await;
    let restored = world.same().with_database(TestDb::existing(admin.parse().unwrap(), name.to_owned()));

    let again = |flight: &Flight| flight.world.same().with_database(Arc::clone(&restored.db));
    let pod = Pod::start(&restored, &service, None).await;
    for flight in [&followed, &ready] {
        let world = again(flight);
        status(&world, &flight.id, &["DEPLOYMENT_READY"]).await;
        pod.front.wish(&flight.id, "switch").await;
        status(&world, &flight.id, &["COMPLETED"]).await;
        undisturbed(&world, &flight.id).await;
    }
    assert_eq!((shifted, shifts(&restored)), (3, 3), "the traffic was moved before");
    let there = events(&again(&done), &done.id).await;
    assert_eq!(
        there.iter().map(|event| event.id).collect::<Vec<_>>(),
        told.iter().map(|event| event.id).collect::<Vec<_>>()
    );
    // Whoever comes back with an event that the backup has goes on right after it.
    let resumed = pod
        .front
        .http
        .get(pod.front.url(&format!("/deploy/{}/events", done.id)))
        .header("Last-Event-ID", told[0].id.to_string());
    let first = crate::http::Reader::open(resumed).await.take(1).await.remove(0);
    assert_eq!(first.id, told[1].id.to_string());
    pod.end(&service).await;
}

/// How often traffic was moved.
fn shifts(world: &World) -> u32 {
    world.sandbox.all_effects().calls.get("codedeploy:ContinueDeployment").map_or(0, |count| count.succeeded)
}
