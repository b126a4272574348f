//! Builds of deployments: base images of registries that require a login or are unreachable, tags and commits, secrets and arguments.

use panda::db::deployments::DeploymentView;
use panda::domain::ErrorCode;
use panda::domain::build_spec::BuildSpec;
use panda::domain::catalogue::Lang;
use panda::domain::principal::Caller;
use panda::domain::request::Requested;
use panda::domain::source::{Revision, Source};
use panda_sandbox::git::SourceFile;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tempfile::TempDir;

use super::failures::fails;
use super::{Replica, deploy_what, events, status};
use crate::dev_services::registry::push;
use crate::support::environment::{Environment, OWNER, tiny};
use crate::support::registry_proxy::{Fault, RegistryProxy};
use crate::support::wait_for;

/// Replaces the environment's repository by one built on the image `base`, which serves the same page as the tiny example.
async fn on_base(env: &Environment, base: &str) {
    let dockerfile = format!("FROM {base}\nCOPY index.html /www/\nCMD exec httpd -f -p \"$PORT\" -h /www\n");
    let files = vec![SourceFile::new("Dockerfile", dockerfile), SourceFile::new("index.html", "hello\n")];
    env.github.repositories().commit(OWNER, &env.repo, "main", files).await.unwrap();
}

/// Pushes a base image to the account's own registry; returns its name there, without the host.
async fn private_base(env: &Environment) -> &'static str {
    let name = format!("{}/base/web", env.registry.host_port());
    push(&env.engine, &name, "1", env.registry.password().expose_secret()).await.unwrap();
    "base/web:1"
}

/// A file of registry logins for `host` that builds of `scopes` may use.
fn logins(env: &Environment, host: &str, scopes: &[&str]) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let password = env.registry.password().expose_secret();
    let file = json!({"auths": {host: {"username": env.registry.username(), "password": password, "scopes": scopes}}});
    std::fs::write(&path, file.to_string()).unwrap();
    let flag = format!("--registry-auth-file={}", path.display());
    (folder, flag)
}

async fn ready(env: &Environment, flags: &[&str], requested: Requested) -> String {
    let replica = Replica::start(env, flags);
    let id = deploy_what(env, requested).await;
    status(env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn base_image__account_registry_uses_its_login() {
    for builder in ["--builder=auto", "--builder=classic"] {
        let env = Environment::with_files(tiny()).await;
        let base = private_base(&env).await;
        on_base(&env, &format!("{}/{base}", env.registry.host_port())).await;
        ready(&env, &[builder], Requested::branch("main")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn base_image__other_registry_needs_permitted_login() {
    let env = Environment::with_files(tiny()).await;
    let base = private_base(&env).await;
    let proxy = RegistryProxy::before(env.registry.host_port()).await;
    on_base(&env, &format!("{}/{base}", proxy.host_port())).await;
    fails(&env, &[], "main", ErrorCode::BaseImageDenied).await;
    let (_folder, flag) = logins(&env, &proxy.host_port(), &["somebody-else/*"]);
    fails(&env, &[&flag], "main", ErrorCode::BaseImageDenied).await;
    let (_folder, flag) = logins(&env, &proxy.host_port(), &["acme/*"]);
    ready(&env, &[&flag], Requested::branch("main")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn build__busy_registry_retried_and_reported() {
    for (code, name) in [(503, "UNKNOWN"), (429, "TOOMANYREQUESTS")] {
        let env = Environment::with_files(tiny()).await;
        let base = private_base(&env).await;
        let proxy = RegistryProxy::before(env.registry.host_port()).await;
        on_base(&env, &format!("{}/{base}", proxy.host_port())).await;
        let (_folder, flag) = logins(&env, &proxy.host_port(), &["acme/*"]);
        // More failures than the builder's own retries.
        for method in ["HEAD", "GET"] {
            proxy.fail(method, "/v2/base/web/manifests/1", Fault::Refuse(code, name, "busy"), u32::MAX / 4);
        }
        let replica = Replica::start(&env, &[&flag]);
        let id = deploy_what(&env, Requested::branch("main")).await;
        wait_for(&format!("{code}: the deployment says why it waits"), async || {
            let emitted = events(&env, &id).await;
            let waiting = emitted.iter().find(|event| event.code == "step_waiting");
            waiting.is_some_and(|event| event.render(Lang::En).message.contains(&code.to_string()))
        })
        .await;
        proxy.heal();
        status(&env, &id, &["DEPLOYMENT_READY"]).await;
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn build__operator_failures_retried_and_not_counted() {
    let env = Environment::with_files(tiny()).await;
    on_base(&env, "127.0.0.1:1/base/web:1").await;
    let waits = async |failed: DeploymentView| {
        let emitted = events(&env, &failed.id).await;
        assert!(emitted.iter().any(|event| event.code == "step_waiting"), "{emitted:#?}");
    };
    waits(fails(&env, &["--build-limit-ms=3000"], "main", ErrorCode::RegistryUnavailable).await).await;
    // As the kernel's OOM killer does: the process of the step ends with SIGKILL.
    let killed = SourceFile::new("Dockerfile", "FROM busybox:1\nRUN sh -c 'kill -9 $$'; exit $?\n");
    env.github.repositories().commit(OWNER, &env.repo, "main", vec![killed]).await.unwrap();
    waits(fails(&env, &["--build-limit-ms=3000"], "main", ErrorCode::BuildOutOfMemory).await).await;
    let changes: i64 = sqlx::query_scalar("SELECT count(*) FROM panda_report.dora_daily_v1 WHERE changes > 0")
        .fetch_one(&mut env.db.psql().await)
        .await
        .unwrap();
    assert_eq!(changes, 0, "no change of the team's failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploy__older_commit_by_id() {
    let env = Environment::with_files(tiny()).await;
    let first = env.github.repositories().head(OWNER, &env.repo, "main").await.unwrap().sha;
    let broken = SourceFile::new("Dockerfile", "FROM busybox:1\nRUN exit 3\n");
    env.github.repositories().commit(OWNER, &env.repo, "main", vec![broken]).await.unwrap();
    let commit = Source::Revision(Revision::Commit(first.clone()));
    let id = ready(&env, &[], Requested { source: commit, ..Requested::branch("main") }).await;
    let view = env.db.db.deployment(&id).await.unwrap().unwrap();
    assert_eq!(view.facts.commit_sha, Some(first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn build__secrets_and_arguments_absent_from_events() {
    const SECRET: &str = "npm_0123456789_the_secret";
    let dockerfile = "FROM busybox:1\nARG COLOUR\nARG SOURCE_COMMIT\n\
        RUN --mount=type=secret,id=npm_token test \"$(cat /run/secrets/npm_token)\" = npm_0123456789_the_secret && cat /run/secrets/npm_token && \
        echo \"colour=$COLOUR commit=$SOURCE_COMMIT\"\nCOPY index.html /www/\nCMD exec httpd -f -p \"$PORT\" -h /www\n";
    let files = vec![SourceFile::new("Dockerfile", dockerfile), SourceFile::new("index.html", "hello\n")];
    let env = Environment::with_files(files).await;
    let build = BuildSpec {
        args: [("COLOUR".to_owned(), "blue".to_owned())].into(),
        secrets: vec!["npm_token".to_owned()],
        ..BuildSpec::default()
    };
    let id = deploy_what(&env, Requested { build, ..Requested::branch("main") }).await;
    let github: String = sqlx::query_scalar("SELECT github_connection_id FROM deployments WHERE id = $1")
        .bind(&id)
        .fetch_one(&mut env.db.psql().await)
        .await
        .unwrap();
    let (value, by) = (SecretString::from(SECRET), Caller::local());
    panda::commands::build_secrets::set_build_secret(&env.db.db, &github, "npm_token", &value, &by).await.unwrap();
    let replica = Replica::start(&env, &[]);
    let view = status(&env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
    let emitted = events(&env, &id).await;
    let text = format!("{emitted:?}");
    assert!(text.contains(&format!("colour=blue commit={}", view.facts.commit_sha.unwrap())), "{text}");
    assert!(!text.contains(&format!("\"{SECRET}")), "the secret's own line is masked: {text}");
    let lines: Vec<_> = emitted.iter().filter(|event| event.code == "build_progress").collect();
    let ended = lines.iter().find(|event| event.params.contains_key("duration_ms")).expect("steps end");
    let step = ended.render(Lang::En).details.unwrap();
    for name in ["step", "name", "startedAt", "durationMs", "cached"] {
        assert!(step.contains_key(name), "{step:?}");
    }
    let line =
        lines.iter().find(|event| event.params["message"].as_str().unwrap().contains("colour=blue commit=")).unwrap();
    assert!(line.render(Lang::En).details.unwrap()["step"].is_number(), "{line:?}");
}
