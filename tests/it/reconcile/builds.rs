//! Builds as deployments meet them: base images of registries that ask for a login or are away, tags and commits, secrets and arguments.

use panda::db::deployments::DeploymentView;
use panda::domain::ErrorCode;
use panda::domain::build_spec::BuildSpec;
use panda::domain::catalogue::Lang;
use panda::domain::principal::Caller;
use panda::domain::request::Requested;
use panda::domain::source::{Revision, Source};
use panda::sandbox::git::SourceFile;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tempfile::TempDir;

use super::failures::fails;
use super::{Replica, deploy_what, events, status};
use crate::parts::registry::push;
use crate::support::registry_front::{Fault, RegistryFront};
use crate::support::wait_for;
use crate::support::world::{OWNER, World, tiny};

/// A world whose repository is built on the image `base`, which answers as the tiny one does.
async fn on_base(world: &World, base: &str) {
    let dockerfile = format!("FROM {base}\nCOPY index.html /www/\nCMD exec httpd -f -p \"$PORT\" -h /www\n");
    let files = vec![SourceFile::new("Dockerfile", dockerfile), SourceFile::new("index.html", "hello\n")];
    world.github.repositories().commit(OWNER, &world.repo, "main", files).await.unwrap();
}

/// Puts a base image into the account's own registry; its name there, without the host.
async fn private_base(world: &World) -> &'static str {
    let name = format!("{}/base/web", world.registry.host_port());
    push(&world.engine, &name, "1", world.registry.password().expose_secret()).await.unwrap();
    "base/web:1"
}

/// A file of logins for `host`, that builds of `scopes` may use.
fn logins(world: &World, host: &str, scopes: &[&str]) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let password = world.registry.password().expose_secret();
    let file =
        json!({"auths": {host: {"username": world.registry.username(), "password": password, "scopes": scopes}}});
    std::fs::write(&path, file.to_string()).unwrap();
    let flag = format!("--registry-auth-file={}", path.display());
    (folder, flag)
}

async fn ready(world: &World, flags: &[&str], requested: Requested) -> String {
    let replica = Replica::start(world, flags);
    let id = deploy_what(world, requested).await;
    status(world, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn base_image_of_the_accounts_own_registry_is_pulled_with_its_login() {
    for builder in ["--builder=auto", "--builder=classic"] {
        let world = World::with_files(tiny()).await;
        let base = private_base(&world).await;
        on_base(&world, &format!("{}/{base}", world.registry.host_port())).await;
        ready(&world, &[builder], Requested::branch("main")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn base_image_of_another_registry_needs_a_login_that_the_owner_may_use() {
    let world = World::with_files(tiny()).await;
    let base = private_base(&world).await;
    let front = RegistryFront::before(world.registry.host_port()).await;
    on_base(&world, &format!("{}/{base}", front.host_port())).await;
    fails(&world, &[], "main", ErrorCode::BaseImageDenied).await;
    let (_folder, flag) = logins(&world, &front.host_port(), &["somebody-else/*"]);
    fails(&world, &[&flag], "main", ErrorCode::BaseImageDenied).await;
    let (_folder, flag) = logins(&world, &front.host_port(), &["acme/*"]);
    ready(&world, &[&flag], Requested::branch("main")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_busy_costs_time_and_is_reported() {
    for (code, name) in [(503, "UNKNOWN"), (429, "TOOMANYREQUESTS")] {
        let world = World::with_files(tiny()).await;
        let base = private_base(&world).await;
        let front = RegistryFront::before(world.registry.host_port()).await;
        on_base(&world, &format!("{}/{base}", front.host_port())).await;
        let (_folder, flag) = logins(&world, &front.host_port(), &["acme/*"]);
        // More often than the builder itself tries again.
        for method in ["HEAD", "GET"] {
            front.fail(method, "/v2/base/web/manifests/1", Fault::Refuse(code, name, "busy"), u32::MAX / 4);
        }
        let replica = Replica::start(&world, &[&flag]);
        let id = deploy_what(&world, Requested::branch("main")).await;
        wait_for(&format!("{code}: the deployment says why it waits"), async || {
            let told = events(&world, &id).await;
            let waiting = told.iter().find(|event| event.code == "step_waiting");
            waiting.is_some_and(|event| event.render(Lang::En).message.contains(&code.to_string()))
        })
        .await;
        front.heal();
        status(&world, &id, &["DEPLOYMENT_READY"]).await;
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_the_operators_is_tried_again_and_counts_against_no_team() {
    let world = World::with_files(tiny()).await;
    on_base(&world, "127.0.0.1:1/base/web:1").await;
    let waits = async |failed: DeploymentView| {
        let told = events(&world, &failed.id).await;
        assert!(told.iter().any(|event| event.code == "step_waiting"), "{told:#?}");
    };
    waits(fails(&world, &["--build-limit-ms=3000"], "main", ErrorCode::RegistryUnavailable).await).await;
    // As the kernel does it: the process of the step ends with SIGKILL.
    let killed = SourceFile::new("Dockerfile", "FROM busybox:1\nRUN sh -c 'kill -9 $$'; exit $?\n");
    world.github.repositories().commit(OWNER, &world.repo, "main", vec![killed]).await.unwrap();
    waits(fails(&world, &["--build-limit-ms=3000"], "main", ErrorCode::BuildOutOfMemory).await).await;
    let changes: i64 = sqlx::query_scalar("SELECT count(*) FROM panda_report.dora_daily_v2 WHERE changes > 0")
        .fetch_one(&mut world.db.psql().await)
        .await
        .unwrap();
    assert_eq!(changes, 0, "no change of the team's failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_not_the_newest_is_deployed_by_its_id() {
    let world = World::with_files(tiny()).await;
    let first = world.github.repositories().head(OWNER, &world.repo, "main").await.unwrap().sha;
    let broken = SourceFile::new("Dockerfile", "FROM busybox:1\nRUN exit 3\n");
    world.github.repositories().commit(OWNER, &world.repo, "main", vec![broken]).await.unwrap();
    let commit = Source::Revision(Revision::Commit(first.clone()));
    let id = ready(&world, &[], Requested { source: commit, ..Requested::branch("main") }).await;
    let view = world.db.db.deployment(&id).await.unwrap().unwrap();
    assert_eq!(view.commit_sha, Some(first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_and_arguments_reach_the_build_and_no_event() {
    const SECRET: &str = "npm_0123456789_the_secret";
    let dockerfile = "FROM busybox:1\nARG COLOUR\nARG SOURCE_COMMIT\n\
        RUN --mount=type=secret,id=npm_token test \"$(cat /run/secrets/npm_token)\" = npm_0123456789_the_secret && cat /run/secrets/npm_token && \
        echo \"colour=$COLOUR commit=$SOURCE_COMMIT\"\nCOPY index.html /www/\nCMD exec httpd -f -p \"$PORT\" -h /www\n";
    let files = vec![SourceFile::new("Dockerfile", dockerfile), SourceFile::new("index.html", "hello\n")];
    let world = World::with_files(files).await;
    let build = BuildSpec {
        args: [("COLOUR".to_owned(), "blue".to_owned())].into(),
        secrets: vec!["npm_token".to_owned()],
        ..BuildSpec::default()
    };
    let id = deploy_what(&world, Requested { build, ..Requested::branch("main") }).await;
    let github: String = sqlx::query_scalar("SELECT github_connection_id FROM deployments WHERE id = $1")
        .bind(&id)
        .fetch_one(&mut world.db.psql().await)
        .await
        .unwrap();
    let (value, by) = (SecretString::from(SECRET), Caller::local());
    world.db.db.set_build_secret(&github, "npm_token", &value, &by).await.unwrap();
    let replica = Replica::start(&world, &[]);
    let view = status(&world, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
    let told = events(&world, &id).await;
    let text = format!("{told:?}");
    assert!(text.contains(&format!("colour=blue commit={}", view.commit_sha.unwrap())), "{text}");
    assert!(!text.contains(&format!("\"{SECRET}")), "the secret's own line is masked: {text}");
    let lines: Vec<_> = told.iter().filter(|event| event.code == "build_progress").collect();
    let ended = lines.iter().find(|event| event.params.contains_key("duration_ms")).expect("steps end");
    let step = ended.render(Lang::En).details.unwrap();
    for name in ["step", "name", "startedAt", "durationMs", "cached"] {
        assert!(step.contains_key(name), "{step:?}");
    }
    let line =
        lines.iter().find(|event| event.params["message"].as_str().unwrap().contains("colour=blue commit=")).unwrap();
    assert!(line.render(Lang::En).details.unwrap()["step"].is_number(), "{line:?}");
}
