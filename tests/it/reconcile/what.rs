//! What is deployed: an image that is there already; a build as the request and `panda.toml` say.

use panda::db::wishes::Wished;
use panda::domain::ErrorCode;
use panda::domain::build_spec::BuildSpec;
use panda::domain::request::Requested;
use panda::domain::source::Source;
use panda::sandbox::git::SourceFile;
use panda::sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;

use super::{Replica, codes, deploy, deploy_what, events, status};
use crate::support::wishes::Wishes;
use crate::support::world::{OWNER, World, hello, tiny};

/// A request for an image.
pub fn image(digest: &str) -> Requested {
    Requested { source: Source::Image(digest.to_owned()), ..Requested::branch("main") }
}

fn with(build: BuildSpec) -> Requested {
    Requested { build, ..Requested::branch("main") }
}

/// Deploys `main` to the end; the digest that is live then.
pub async fn live(world: &World) -> String {
    let id = deploy(world, "main").await;
    switched(world, &id).await;
    world.db.db.deployment(&id).await.unwrap().unwrap().image_digest.unwrap()
}

async fn switched(world: &World, id: &str) {
    status(world, id, &["DEPLOYMENT_READY"]).await;
    world.db.db.request_switch(id).await.unwrap();
    world.db.db.notify_work(id).await.unwrap();
    status(world, id, &["COMPLETED"]).await;
}

async fn failed(world: &World, id: &str, code: ErrorCode) -> String {
    let failed = status(world, id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(code.as_str()), "{:?}", failed.error_message);
    failed.error_message.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_in_ecr_is_deployed_without_a_clone_or_a_build() {
    let world = World::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&world, &[]);
    let digest = live(&world).await;
    // The source is of no account any more.
    world.github.repositories().commit(OWNER, &world.repo, "main", vec![SourceFile::new("x", "y")]).await.unwrap();

    let id = deploy_what(&world, image(&digest)).await;
    let ready = status(&world, &id, &["DEPLOYMENT_READY"]).await;
    let told = events(&world, &id).await;
    let first = [
        "event_rule_created",
        "event_bus_permission_requested",
        "event_bus_permission_granted",
        "push_stage_started",
        "push_started",
        "push_completed",
        "infra_started",
    ];
    assert_eq!(codes(&told)[..7], first);
    assert!(reqwest::get(ready.green_url.unwrap()).await.unwrap().text().await.unwrap().contains("2.0.0"));
    let published = ready.image_digest.unwrap();
    assert_ne!(published, digest, "a digest of its own");
    assert_eq!((ready.commit_sha, ready.branch), (None, format!("image {digest}")));
    assert!(ready.image_uri.unwrap().ends_with(&format!(":{id}")));
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!((effects.pushes.get(&published), effects.executions.get(&published)), (Some(&1), Some(&1)));
    switched(&world, &id).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_published_once_more_for_another_attempt() {
    let world = World::with_files(tiny()).await;
    let replica = Replica::start(&world, &[]);
    let digest = live(&world).await;
    let outcome = Outcome::Fail { error: "Lambda.Unknown".into(), cause: "the task broke".into() };
    let fault = ExecutionFault { state: "EnsureInfra".into(), outcome };
    let faults = Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() };
    world.sandbox.faults().update(|now| *now = faults);
    let id = deploy_what(&world, image(&digest)).await;
    failed(&world, &id, ErrorCode::ExecutionFailed).await;
    let first = world.db.db.deployment(&id).await.unwrap().unwrap().image_digest.unwrap();
    world.sandbox.faults().update(|now| *now = Faults::default());
    assert_eq!(world.db.db.request_retry(&id).await.unwrap(), Wished::Accepted);
    world.db.db.notify_work(&id).await.unwrap();
    switched(&world, &id).await;
    let second = world.db.db.deployment(&id).await.unwrap().unwrap().image_digest.unwrap();
    assert!(second != first && second != digest, "each attempt has a digest of its own");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_not_there_fails_with_its_name() {
    let world = World::with_files(tiny()).await;
    let replica = Replica::start(&world, &[]);
    let absent = format!("sha256:{}", "a".repeat(64));
    let no_repository = deploy_what(&world, image(&absent)).await;
    let message = failed(&world, &no_repository, ErrorCode::ImageNotFound).await;
    assert!(message.contains(&world.ecr_repository()), "{message}");
    live(&world).await;
    let no_image = deploy_what(&world, image(&absent)).await;
    let message = failed(&world, &no_image, ErrorCode::ImageNotFound).await;
    assert!(message.contains(&absent), "{message}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panda_toml_names_the_dockerfile_and_the_request_wins() {
    let mut files = tiny();
    let [Some(dockerfile), ..] = [files.iter().position(|file| file.path == "Dockerfile")] else { panic!() };
    let built = files.remove(dockerfile);
    files.push(SourceFile::new("Dockerfile", "FROM busybox:1\nRUN exit 3\n"));
    files.push(SourceFile::new("deploy/Dockerfile.web", built.contents));
    files.push(SourceFile::new("panda.toml", "[build]\ndockerfile = \"deploy/Dockerfile.web\"\n"));
    let world = World::with_files(files).await;
    let replica = Replica::start(&world, &[]);
    let dockerfile = |path: &str| with(BuildSpec { dockerfile: Some(path.to_owned()), ..BuildSpec::default() });
    let other = deploy_what(&world, dockerfile("Dockerfile")).await;
    failed(&world, &other, ErrorCode::BuildFailed).await;
    let missing = deploy_what(&world, dockerfile("deploy/Dockerfile")).await;
    let message = failed(&world, &missing, ErrorCode::DockerfileNotFound).await;
    assert!(message.contains("deploy/Dockerfile"), "{message}");
    let default = deploy(&world, "main").await;
    status(&world, &default, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_in_panda_toml_ends_the_deployment_with_its_place() {
    for (file, says) in [
        ("[build]\ndockerfil = \"x\"\n", "panda.toml:2:1: unknown field `dockerfil`"),
        ("[build]\ncontext = \"../x\"\n", "panda.toml:2:11: build.context must be a path"),
        ("[build]\nsecrets = [\"npm\"]\n", "panda connections secrets set gh_"),
    ] {
        let world = World::with_files([tiny(), vec![SourceFile::new("panda.toml", file)]].concat()).await;
        let replica = Replica::start(&world, &[]);
        let id = deploy(&world, "main").await;
        let message = failed(&world, &id, ErrorCode::BuildConfigInvalid).await;
        assert!(message.contains(says), "{message}");
        replica.stop().await;
    }
}
