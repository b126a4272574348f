//! The version before beside this one, on one database: there (a rolling update through the newest migrations) and back (the update is taken back).
//! What is under way meanwhile, deployments and streams, does not notice.

mod keys;
mod reader;
mod restore;

use std::path::PathBuf;

use nix::sys::signal::Signal;
use panda::db::schema::known;
use panda::domain::schema::Fit;
use panda::sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;
use reader::{Reader, Service};
use sqlx::{Executor as _, PgConnection};

use crate::cli::{Ended, panda, run};
use crate::reconcile::takeover::{building, slow_build, undisturbed};
use crate::reconcile::{events, status};
use crate::support::db::TestDb;
use crate::support::front::Front;
use crate::support::process::Serve;
use crate::support::wait_for;
use crate::support::world::{World, tiny};

/// The program from before the newest migration.
fn before() -> PathBuf {
    let path = std::env::var_os("PANDA_TEST_PREVIOUS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/previous/panda")), PathBuf::from);
    let remedy =
        "Build it with `scripts/previous.sh` (which `make test` does), or name another place in PANDA_TEST_PREVIOUS.";
    assert!(path.exists(), "there is no {}. {remedy}", path.display());
    path
}

/// Brings the schema up to date with a build of the program.
async fn migrate(program: Option<PathBuf>, world: &World) -> Ended {
    let mut command = program.map_or_else(
        || panda(&["migrate"]),
        |program| {
            let mut command = tokio::process::Command::new(program);
            command.arg("migrate");
            command
        },
    );
    let ended = run(command.env("PANDA_DATABASE_URL", world.db.url())).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    ended
}

/// A world whose database the version before has made.
async fn world_of_before() -> World {
    // Both versions serve as the owner: the version before knows no other role.
    let world = World::with_files(tiny()).await.with_database(TestDb::new().await.into_owners());
    let mut psql = world.db.psql().await;
    psql.execute("DROP SCHEMA public, panda_report CASCADE; CREATE SCHEMA public").await.unwrap();
    migrate(Some(before()), &world).await;
    assert_eq!(world.db.db.schema().await.unwrap(), Fit::Behind, "there is a migration to be gone through");
    world
}

/// A replica that serves, and is among those that readers are sent to.
struct Pod {
    serve: Serve,
    front: Front,
}

impl Pod {
    async fn start(world: &World, service: &Service, program: Option<&PathBuf>) -> Self {
        let serve =
            program.map_or_else(|| Serve::start(world, &[], &[]), |program| Serve::start_other(program, world, &[]));
        serve.ready().await;
        let front = Front::of(serve.url.clone());
        service.add(&front.base);
        Self { serve, front }
    }

    /// As Kubernetes ends a pod: off the lists first, then told.
    async fn end(mut self, service: &Service) {
        service.remove(&self.front.base);
        self.serve.signal(Signal::SIGTERM);
        assert!(self.serve.wait().await.success(), "{}", self.serve.log());
    }
}

/// A repository of the world with a deployment of it, and who follows that.
struct Flight {
    world: World,
    id: String,
    request: serde_json::Value,
    reader: Reader,
}

impl Flight {
    async fn start(world: World, front: &Front, service: &Service) -> Self {
        let request = front.connect(&world).await;
        Self::again(world, request, front, service).await
    }

    async fn again(world: World, request: serde_json::Value, front: &Front, service: &Service) -> Self {
        let id = front.deploy(&request).await;
        let reader = Reader::start(service.clone(), &id);
        Self { world, id, request, reader }
    }

    /// Waits until it is at a step.
    async fn is_at(&self, step: &str) {
        let mut psql = self.world.db.psql().await;
        wait_for(&format!("{} is at {step}", self.id), async || place(&mut psql, &self.id).await.1 == step).await;
    }

    /// Waits for a status.
    async fn is(&self, status: &str) {
        let mut psql = self.world.db.psql().await;
        wait_for(&format!("{} is {status}", self.id), async || place(&mut psql, &self.id).await.0 == status).await;
    }

    /// Waits until it is ready, switches it, and waits for its end.
    async fn completes(&self, front: &Front) {
        status(&self.world, &self.id, &["DEPLOYMENT_READY"]).await;
        front.wish(&self.id, "switch").await;
        status(&self.world, &self.id, &["COMPLETED"]).await;
    }

    /// Its reader has seen what the table has: all, once, in order.
    async fn was_seen(&self) {
        let ids: Vec<String> = events(&self.world, &self.id).await.iter().map(|event| event.id.to_string()).collect();
        wait_for("the reader has all", async || self.reader.seen().len() >= ids.len()).await;
        assert_eq!(self.reader.seen(), ids, "{}", self.id);
    }
}

/// Status and step, read as any version has them.
async fn place(psql: &mut PgConnection, id: &str) -> (String, String) {
    sqlx::query_as("SELECT status, step FROM deployments WHERE id = $1").bind(id).fetch_one(psql).await.unwrap()
}

/// Each replica gave back what it had: nobody had to be taken for dead.
async fn nobody_was_lost(world: &World) {
    let lost = "SELECT count(*) FROM step_runs WHERE outcome = 'lost'";
    let lost: i64 = sqlx::query_scalar(lost).fetch_one(&mut world.db.psql().await).await.unwrap();
    assert_eq!(lost, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_through_the_newest_migrations_loses_nothing_and_does_nothing_twice() {
    let world = world_of_before().await;
    let (old, service) = (before(), Service::default());
    let pods = [Pod::start(&world, &service, Some(&old)).await, Pod::start(&world, &service, Some(&old)).await];
    let front = &pods[0].front;

    // Something at every kind of place: followed, waiting for a person, failed, waiting for its turn, building.
    let another = world.another_repository(tiny()).await;
    world.sandbox.faults().set(Faults {
        executions: [
            (world.ecr_repository(), ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck }),
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
    let failed = Flight::start(another, front, &service).await;
    failed.is("FAILED").await;
    let followed = Flight::start(world, front, &service).await;
    let world = &followed.world;
    followed.is_at("follow_execution").await;
    let ready = Flight::start(world.another_repository(tiny()).await, front, &service).await;
    ready.is("DEPLOYMENT_READY").await;
    let mut request = ready.request.clone();
    request["concurrency"] = "queue".into();
    let queued = Flight::again(ready.world.same(), request, front, &service).await;
    let built = Flight::start(world.another_repository(slow_build(8)).await, front, &service).await;
    built.is_at("build_image").await;

    // The schema first, under the old ones, which go on: with what is there, and with what comes.
    migrate(None, world).await;
    assert_eq!(world.db.db.schema().await.unwrap(), Fit::Fits { newer: None });
    let late = Flight::start(world.another_repository(tiny()).await, front, &service).await;
    late.is("DEPLOYMENT_READY").await;
    building(world, &built.id).await;
    let mut psql = world.db.psql().await;
    let knowing = "SELECT count(*), count(*) FILTER (WHERE schema_version = $1) FROM replicas";
    let replicas: (i64, i64) = sqlx::query_as(knowing).bind(known()).fetch_one(&mut psql).await.unwrap();
    assert_eq!(replicas, (2, 0), "they are of the version before");

    // Then one by one.
    let [first, second] = pods;
    let new = Pod::start(world, &service, None).await;
    first.end(&service).await;
    let newer = Pod::start(world, &service, None).await;
    second.end(&service).await;
    wait_for("the replicas are those of this version", async || {
        sqlx::query_as::<_, (i64, i64)>(knowing).bind(known()).fetch_one(&mut psql).await.unwrap() == (2, 2)
    })
    .await;

    world.sandbox.faults().clear();
    new.front.wish(&failed.id, "retry").await;
    for flight in [&followed, &ready, &queued, &late, &built, &failed] {
        flight.completes(&newer.front).await;
    }
    for flight in [&followed, &late, &built] {
        undisturbed(&flight.world, &flight.id).await;
    }
    for flight in [&followed, &ready, &queued, &late, &built, &failed] {
        flight.was_seen().await;
    }
    nobody_was_lost(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_is_taken_back_loses_nothing_and_the_version_before_goes_on_with_the_newer_schema() {
    let world = world_of_before().await;
    migrate(None, &world).await;
    let (old, service) = (before(), Service::default());
    let new = Pod::start(&world, &service, None).await;
    let stuck = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    world.sandbox.faults().set(Faults { executions: [(world.ecr_repository(), stuck)].into(), ..Faults::default() });
    let followed = Flight::start(world, &new.front, &service).await;
    let world = &followed.world;
    followed.is_at("follow_execution").await;
    let ready = Flight::start(world.another_repository(tiny()).await, &new.front, &service).await;
    ready.is("DEPLOYMENT_READY").await;

    let back = Pod::start(world, &service, Some(&old)).await;
    new.end(&service).await;
    world.sandbox.faults().clear();
    let late = Flight::start(world.another_repository(tiny()).await, &back.front, &service).await;
    for flight in [&followed, &ready, &late] {
        flight.completes(&back.front).await;
        undisturbed(&flight.world, &flight.id).await;
        flight.was_seen().await;
    }
    nobody_was_lost(world).await;
    // Whoever tries again with the new version is not stopped by what the old one did.
    let ended = migrate(None, world).await;
    assert!(ended.stdout.contains("up to date"), "{ended:?}");
}
