//! Sources of a deployment: an existing image, or a build as configured by the request and `panda.toml`.

use panda::domain::ErrorCode;
use panda::domain::build_spec::BuildSpec;
use panda::domain::request::Requested;
use panda::domain::source::Source;
use panda_sandbox::git::SourceFile;
use panda_sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;

use super::{Replica, codes, deploy, deploy_what, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, OWNER, hello, tiny};

pub fn image(digest: &str) -> Requested {
    Requested { source: Source::Image(digest.to_owned()), ..Requested::branch("main") }
}

fn with(build: BuildSpec) -> Requested {
    Requested { build, ..Requested::branch("main") }
}

/// Deploys `main` to the end; returns the live digest.
pub async fn live(env: &Environment) -> String {
    let id = deploy(env, "main").await;
    switched(env, &id).await;
    env.db.db.deployment(&id).await.unwrap().unwrap().facts.image_digest.unwrap()
}

async fn switched(env: &Environment, id: &str) {
    status(env, id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_switch(id).await.unwrap();
    env.db.db.notify_work(id).await.unwrap();
    status(env, id, &["COMPLETED"]).await;
}

async fn failed(env: &Environment, id: &str, code: ErrorCode) -> String {
    let failed = status(env, id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(code.as_str()), "{:?}", failed.error_message);
    failed.error_message.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_source__deployed_without_clone_or_build() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &[]);
    let digest = live(&env).await;
    // The source no longer matters.
    env.github.repositories().commit(OWNER, &env.repo, "main", vec![SourceFile::new("x", "y")]).await.unwrap();

    let id = deploy_what(&env, image(&digest)).await;
    let ready = status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let emitted = events(&env, &id).await;
    let first = [
        "event_rule_created",
        "event_bus_permission_requested",
        "event_bus_permission_granted",
        "push_stage_started",
        "push_started",
        "push_completed",
        "infra_started",
    ];
    assert_eq!(codes(&emitted)[..7], first);
    assert!(reqwest::get(ready.facts.green_url.unwrap()).await.unwrap().text().await.unwrap().contains("2.0.0"));
    let published = ready.facts.image_digest.unwrap();
    assert_ne!(published, digest, "a separate digest");
    assert_eq!((ready.facts.commit_sha, ready.branch), (None, format!("image {digest}")));
    assert!(ready.facts.image_uri.unwrap().ends_with(&format!(":{id}")));
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!((effects.pushes.get(&published), effects.executions.get(&published)), (Some(&1), Some(&1)));
    switched(&env, &id).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_source__published_again_per_attempt() {
    let env = Environment::with_files(tiny()).await;
    let replica = Replica::start(&env, &[]);
    let digest = live(&env).await;
    let outcome = Outcome::Fail { error: "Lambda.Unknown".into(), cause: "the task broke".into() };
    let fault = ExecutionFault { state: "EnsureInfra".into(), outcome };
    let faults = Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() };
    env.sandbox.faults().update(|now| *now = faults);
    let id = deploy_what(&env, image(&digest)).await;
    failed(&env, &id, ErrorCode::ExecutionFailed).await;
    let first = env.db.db.deployment(&id).await.unwrap().unwrap().facts.image_digest.unwrap();
    env.sandbox.faults().update(|now| *now = Faults::default());
    env.db.db.request_retry(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    switched(&env, &id).await;
    let second = env.db.db.deployment(&id).await.unwrap().unwrap().facts.image_digest.unwrap();
    assert!(second != first && second != digest, "each attempt has a separate digest");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_source__missing_image_named() {
    let env = Environment::with_files(tiny()).await;
    let replica = Replica::start(&env, &[]);
    let absent = format!("sha256:{}", "a".repeat(64));
    let no_repository = deploy_what(&env, image(&absent)).await;
    let message = failed(&env, &no_repository, ErrorCode::ImageNotFound).await;
    assert!(message.contains(&env.ecr_repository()), "{message}");
    live(&env).await;
    let no_image = deploy_what(&env, image(&absent)).await;
    let message = failed(&env, &no_image, ErrorCode::ImageNotFound).await;
    assert!(message.contains(&absent), "{message}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panda_toml__names_dockerfile_and_request_wins() {
    let mut files = tiny();
    let [Some(dockerfile), ..] = [files.iter().position(|file| file.path == "Dockerfile")] else { panic!() };
    let built = files.remove(dockerfile);
    files.push(SourceFile::new("Dockerfile", "FROM busybox:1\nRUN exit 3\n"));
    files.push(SourceFile::new("deploy/Dockerfile.web", built.contents));
    files.push(SourceFile::new("panda.toml", "[build]\ndockerfile = \"deploy/Dockerfile.web\"\n"));
    let env = Environment::with_files(files).await;
    let replica = Replica::start(&env, &[]);
    let dockerfile = |path: &str| with(BuildSpec { dockerfile: Some(path.to_owned()), ..BuildSpec::default() });
    let other = deploy_what(&env, dockerfile("Dockerfile")).await;
    failed(&env, &other, ErrorCode::BuildFailed).await;
    let missing = deploy_what(&env, dockerfile("deploy/Dockerfile")).await;
    let message = failed(&env, &missing, ErrorCode::DockerfileNotFound).await;
    assert!(message.contains("deploy/Dockerfile"), "{message}");
    let default = deploy(&env, "main").await;
    status(&env, &default, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panda_toml__mistake_fails_with_its_position() {
    for (file, says) in [
        ("[build]\ndockerfil = \"x\"\n", "panda.toml:2:1: unknown field `dockerfil`"),
        ("[build]\ncontext = \"../x\"\n", "panda.toml:2:11: build.context must be a path"),
        ("[build]\nsecrets = [\"npm\"]\n", "panda connections secrets set gh_"),
    ] {
        let env = Environment::with_files([tiny(), vec![SourceFile::new("panda.toml", file)]].concat()).await;
        let replica = Replica::start(&env, &[]);
        let id = deploy(&env, "main").await;
        let message = failed(&env, &id, ErrorCode::BuildConfigInvalid).await;
        assert!(message.contains(says), "{message}");
        replica.stop().await;
    }
}
