//! A backup and a restore into another cluster. `tests/it/operations` runs the documents' commands.

use std::process::Stdio;
use std::sync::Arc;

use panda_dev_services::{Postgres, PostgresOptions, temporary_folder};
use panda_sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;
use secrecy::ExposeSecret as _;
use tokio::process::Command;

use super::{Flight, Pod};
use crate::reconcile::takeover::undisturbed;
use crate::reconcile::{events, status};
use crate::support::db::TestDb;
use crate::support::environment::{Environment, tiny};
use panda_testing::sse::Service;

const DUMP: &str = r#"pg_dump --format=custom --file=panda.dump "$OWNER_URL""#;

const RESTORE: &str = r#"
psql --quiet --set=ON_ERROR_STOP=1 "$ADMIN_URL" --command='CREATE DATABASE panda OWNER panda'
pg_restore --no-owner --no-acl --exit-on-error --dbname="$OWNER_URL" panda.dump
panda migrate --database-url "$OWNER_URL"
"#;

/// Runs the commands as an operator would, with the program in PATH and these variables.
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
async fn restore__resumes_in_other_cluster_without_repeats() {
    let env = Environment::with_files(tiny()).await;
    let service = Service::default();
    let pod = Pod::start(&env, &service, None).await;
    let stuck = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().set(Faults { executions: [(env.ecr_repository(), stuck)].into(), ..Faults::default() });
    let followed = Flight::start(env.same(), &pod.api_client, &service).await;
    followed.is_at("follow_execution").await;
    let ready = Flight::start(env.another_repository(tiny()).await, &pod.api_client, &service).await;
    ready.is("DEPLOYMENT_READY").await;
    let done = Flight::start(env.another_repository(tiny()).await, &pod.api_client, &service).await;
    done.completes(&pod.api_client).await;
    let received = events(&done.env, &done.id).await;

    let folder = tempfile::tempdir().unwrap();
    type_in(DUMP, folder.path(), &[("OWNER_URL", env.db.owner_url().as_str())]).await;
    // Events after the backup: both deployments end.
    env.sandbox.faults().clear();
    for flight in [&followed, &ready] {
        flight.completes(&pod.api_client).await;
    }
    pod.end(&service).await;
    let shifted = shifts(&env);

    let dir = temporary_folder().unwrap();
    let options = PostgresOptions { data_dir: dir.path().join("postgres"), durable: false };
    let cluster = Postgres::start(options).await.unwrap();
    // The cluster has a database of that name already, so the restore goes to a server without one, under the document's name.
    let (admin, name) = (cluster.url_of("postgres").expose_secret().to_owned(), "panda");
    let prepare = format!(
        "dropdb --maintenance-db=\"$ADMIN_URL\" {name}; psql --quiet --command='CREATE ROLE {name}' \"$ADMIN_URL\""
    );
    type_in(&prepare, folder.path(), &[("ADMIN_URL", &admin)]).await;
    let url = cluster.url_of(name).expose_secret().to_owned();
    type_in(RESTORE, folder.path(), &[("ADMIN_URL", &admin), ("OWNER_URL", &url)]).await;
    let restored = env.same().with_database(TestDb::existing(admin.parse().unwrap(), name.to_owned()));

    let again = |flight: &Flight| flight.env.same().with_database(Arc::clone(&restored.db));
    let pod = Pod::start(&restored, &service, None).await;
    for flight in [&followed, &ready] {
        let env = again(flight);
        status(&env, &flight.id, &["DEPLOYMENT_READY"]).await;
        pod.api_client.command(&flight.id, "switch").await;
        status(&env, &flight.id, &["COMPLETED"]).await;
        undisturbed(&env, &flight.id).await;
    }
    assert_eq!((shifted, shifts(&restored)), (3, 3), "the traffic was moved before");
    let there = events(&again(&done), &done.id).await;
    assert_eq!(
        there.iter().map(|event| event.id).collect::<Vec<_>>(),
        received.iter().map(|event| event.id).collect::<Vec<_>>()
    );
    // A reader whose last event is in the backup resumes right after it.
    let resumed = pod
        .api_client
        .http
        .get(pod.api_client.url(&format!("/deploy/{}/events", done.id)))
        .header("Last-Event-ID", received[0].id.to_string());
    let first = crate::http::Reader::open(resumed).await.take(1).await.remove(0);
    assert_eq!(first.id, received[1].id.to_string());
    pod.end(&service).await;
}

/// Number of traffic shifts.
fn shifts(env: &Environment) -> u32 {
    env.sandbox.all_effects().calls.get("codedeploy:ContinueDeployment").map_or(0, |count| count.succeeded)
}
