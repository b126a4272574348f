//! The previous version beside this one on one database: forwards (a rolling update through the newest migrations) and back (a rollback). Running
//! deployments and streams are not affected.

mod restore;

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use panda::db::schema::known;
use panda::domain::schema::Fit;
use panda_sandbox::{ExecutionFault, Faults, Outcome};
use panda_testing::serve::ServeBuilder;
use panda_testing::sse::{Follower, Service};
use pretty_assertions::assert_eq;
use sqlx::{Executor as _, PgConnection};

use crate::cli::{Ended, panda, run};
use crate::reconcile::takeover::{building, slow_build, undisturbed};
use crate::reconcile::{events, status};
use crate::support::api_client::ApiClient;
use crate::support::db::TestDb;
use crate::support::environment::{Environment, tiny};
use crate::support::process::Serve;
use crate::support::wait_for;

/// The program of the newest release, which `scripts/previous.sh` builds. Before the first release, this program: none other can use its schema
/// (docs/decisions/0048-one-baseline-schema.md).
fn before() -> PathBuf {
    let named = std::env::var_os("PANDA_TEST_PREVIOUS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/previous/panda")), PathBuf::from);
    if is_released(&named) {
        return named;
    }
    println!("no released version at {}: this program is both versions", named.display());
    PathBuf::from(env!("CARGO_BIN_EXE_panda"))
}

/// Reports that `program` exists and is 0.2.0 or newer.
fn is_released(program: &Path) -> bool {
    let Ok(printed) = std::process::Command::new(program).arg("--version").output() else { return false };
    let version = String::from_utf8(printed.stdout).unwrap();
    !version.trim().rsplit(' ').next().unwrap().starts_with("0.1.")
}

/// Migrates the schema with a build of the program.
async fn migrate(program: Option<PathBuf>, env: &Environment) -> Ended {
    let mut command = program.map_or_else(
        || panda(&["migrate"]),
        |program| {
            let mut command = tokio::process::Command::new(program);
            command.arg("migrate");
            command
        },
    );
    let ended = run(command.env("PANDA_DATABASE_URL", env.db.url())).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    ended
}

/// An environment whose database the previous version has created.
async fn env_of_previous_version() -> Environment {
    // Both versions sign in as the owner, because the roles of the previous version may lack rights on newer tables.
    let env = Environment::with_files(tiny()).await.with_database(TestDb::new().await.into_owners());
    let mut psql = env.db.psql().await;
    psql.execute("DROP SCHEMA public, panda_report CASCADE; CREATE SCHEMA public").await.unwrap();
    migrate(Some(before()), &env).await;
    env
}

/// A replica that is in the list of addresses for readers.
struct Pod {
    serve: Serve,
    api_client: ApiClient,
}

impl Pod {
    async fn start(env: &Environment, service: &Service, program: Option<&PathBuf>) -> Self {
        let serve = program.map_or_else(
            || Serve::start(env, &[], &[]),
            |program| ServeBuilder::of(program).environment(env).by_variables().start(),
        );
        serve.ready().await;
        let api_client = ApiClient::of(serve.url.clone());
        service.add(&api_client.base);
        Self { serve, api_client }
    }

    /// Ends it as Kubernetes ends a pod: removed from the addresses first, then SIGTERM.
    async fn end(mut self, service: &Service) {
        service.remove(&self.api_client.base);
        self.serve.signal(Signal::SIGTERM);
        assert!(self.serve.wait().await.success(), "{}", self.serve.log());
    }
}

/// A repository of the environment with a deployment, and a reader of its stream.
struct Flight {
    env: Environment,
    id: String,
    request: serde_json::Value,
    reader: Follower,
}

impl Flight {
    async fn start(env: Environment, api_client: &ApiClient, service: &Service) -> Self {
        let request = api_client.connect(&env).await;
        Self::again(env, request, api_client, service).await
    }

    async fn again(env: Environment, request: serde_json::Value, api_client: &ApiClient, service: &Service) -> Self {
        let id = api_client.deploy(&request).await;
        let reader = Follower::start(service.clone(), &id);
        Self { env, id, request, reader }
    }

    /// Waits until it is at a step.
    async fn is_at(&self, step: &str) {
        let mut psql = self.env.db.psql().await;
        wait_for(&format!("{} is at {step}", self.id), async || place(&mut psql, &self.id).await.1 == step).await;
    }

    /// Waits for a status.
    async fn is(&self, status: &str) {
        let mut psql = self.env.db.psql().await;
        wait_for(&format!("{} is {status}", self.id), async || place(&mut psql, &self.id).await.0 == status).await;
    }

    /// Waits until it is ready, switches it, and waits for its end.
    async fn completes(&self, api_client: &ApiClient) {
        status(&self.env, &self.id, &["DEPLOYMENT_READY"]).await;
        api_client.command(&self.id, "switch").await;
        status(&self.env, &self.id, &["COMPLETED"]).await;
    }

    /// Asserts that its reader has received exactly the table's events, once and in order.
    async fn was_seen(&self) {
        let ids: Vec<String> = events(&self.env, &self.id).await.iter().map(|event| event.id.to_string()).collect();
        wait_for("the reader has all", async || self.reader.seen().len() >= ids.len()).await;
        assert_eq!(self.reader.seen(), ids, "{}", self.id);
    }
}

/// Status and step, read in a way that every version supports.
async fn place(psql: &mut PgConnection, id: &str) -> (String, String) {
    sqlx::query_as("SELECT status, step FROM deployments WHERE id = $1").bind(id).fetch_one(psql).await.unwrap()
}

/// Asserts that each replica released its deployments, so that none was taken over.
async fn no_deployment_lost(env: &Environment) {
    let lost = "SELECT count(*) FROM step_runs WHERE outcome = 'lost'";
    let lost: i64 = sqlx::query_scalar(lost).fetch_one(&mut env.db.psql().await).await.unwrap();
    assert_eq!(lost, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_update__newest_migrations_lose_and_repeat_nothing() {
    let env = env_of_previous_version().await;
    let (old, service) = (before(), Service::default());
    let pods = [Pod::start(&env, &service, Some(&old)).await, Pod::start(&env, &service, Some(&old)).await];
    let api_client = &pods[0].api_client;

    // One deployment in each situation: followed, awaiting approval, failed, queued, building.
    let another = env.another_repository(tiny()).await;
    env.sandbox.faults().set(Faults {
        executions: [
            (env.ecr_repository(), ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck }),
            (
                another.ecr_repository(),
                ExecutionFault {
                    state: "EnsureInfra".into(),
                    outcome: Outcome::Fail { error: "E".into(), cause: "it broke".into() },
                },
            ),
        ]
        .into(),
        ..Faults::default()
    });
    let failed = Flight::start(another, api_client, &service).await;
    failed.is("FAILED").await;
    let followed = Flight::start(env, api_client, &service).await;
    let env = &followed.env;
    followed.is_at("follow_execution").await;
    let ready = Flight::start(env.another_repository(tiny()).await, api_client, &service).await;
    ready.is("DEPLOYMENT_READY").await;
    let mut request = ready.request.clone();
    request["concurrency"] = "queue".into();
    let queued = Flight::again(ready.env.same(), request, api_client, &service).await;
    let built = Flight::start(env.another_repository(slow_build(8)).await, api_client, &service).await;
    built.is_at("build_image").await;

    let older = env.db.db.schema().await.unwrap() == Fit::Behind;
    // The schema first, while the old replicas keep working on present and new deployments.
    migrate(None, env).await;
    assert_eq!(env.db.db.schema().await.unwrap(), Fit::Fits { newer: None });
    let late = Flight::start(env.another_repository(tiny()).await, api_client, &service).await;
    late.is("DEPLOYMENT_READY").await;
    building(env, &built.id).await;
    let mut psql = env.db.psql().await;
    let knowing = "SELECT count(*), count(*) FILTER (WHERE schema_version = $1) FROM replicas";
    let replicas: (i64, i64) = sqlx::query_as(knowing).bind(known()).fetch_one(&mut psql).await.unwrap();
    assert_eq!(replicas, (2, if older { 0 } else { 2 }), "they have the previous version");

    // Then replica by replica.
    let [first, second] = pods;
    let new = Pod::start(env, &service, None).await;
    first.end(&service).await;
    let newer = Pod::start(env, &service, None).await;
    second.end(&service).await;
    wait_for("the replicas are those of this version", async || {
        sqlx::query_as::<_, (i64, i64)>(knowing).bind(known()).fetch_one(&mut psql).await.unwrap() == (2, 2)
    })
    .await;

    env.sandbox.faults().clear();
    new.api_client.command(&failed.id, "retry").await;
    for flight in [&followed, &ready, &queued, &late, &built, &failed] {
        flight.completes(&newer.api_client).await;
    }
    for flight in [&followed, &late, &built] {
        undisturbed(&flight.env, &flight.id).await;
    }
    for flight in [&followed, &ready, &queued, &late, &built, &failed] {
        flight.was_seen().await;
    }
    no_deployment_lost(env).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_update__rollback_keeps_newer_schema_and_loses_nothing() {
    let env = env_of_previous_version().await;
    migrate(None, &env).await;
    let (old, service) = (before(), Service::default());
    let new = Pod::start(&env, &service, None).await;
    let stuck = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().set(Faults { executions: [(env.ecr_repository(), stuck)].into(), ..Faults::default() });
    let followed = Flight::start(env, &new.api_client, &service).await;
    let env = &followed.env;
    followed.is_at("follow_execution").await;
    let ready = Flight::start(env.another_repository(tiny()).await, &new.api_client, &service).await;
    ready.is("DEPLOYMENT_READY").await;

    let back = Pod::start(env, &service, Some(&old)).await;
    new.end(&service).await;
    env.sandbox.faults().clear();
    let late = Flight::start(env.another_repository(tiny()).await, &back.api_client, &service).await;
    for flight in [&followed, &ready, &late] {
        flight.completes(&back.api_client).await;
        undisturbed(&flight.env, &flight.id).await;
        flight.was_seen().await;
    }
    no_deployment_lost(env).await;
    // The next attempt to update is not affected by the rolled-back version.
    let ended = migrate(None, env).await;
    assert!(ended.stdout.contains("up to date"), "{ended:?}");
}
