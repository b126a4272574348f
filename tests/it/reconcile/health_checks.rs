//! Services that a fixed health check could never deploy: they redirect, ask for a login, or answer only at one path.

use panda::domain::ErrorCode;
use panda::domain::catalogue::Lang;
use panda_sandbox::Faults;
use panda_sandbox::git::SourceFile;
use serde_json::json;

use super::deploy_source::{image, live};
use super::failures::{fails, said};
use super::{Replica, codes, deploy, deploy_what, events, status};
use crate::support::environment::Environment;

/// An image that answers every request with `status`. It reads the request first: closing a socket with unread data resets the connection, and the answer
/// may be lost.
fn always(status: &str, header: &str) -> SourceFile {
    let answer = format!("HTTP/1.1 {status}\\\\r\\\\n{header}\\\\r\\\\nContent-Length: 0\\\\r\\\\n\\\\r\\\\n");
    SourceFile::new(
        "Dockerfile",
        format!(
            "FROM busybox:1\nRUN printf '#!/bin/sh\\nhead -n1 >/dev/null\\nprintf \"{answer}\"\\n' > /a.sh && chmod 755 /a.sh\nENV PORT=8080\nCMD exec nc -ll -p $PORT -e /a.sh\n"
        ),
    )
}

/// An image that answers only `/api/healthz`.
fn below_a_path() -> SourceFile {
    let dockerfile = "FROM busybox:1\nRUN mkdir -p /www/api && echo ok > /www/api/healthz\nENV PORT=8080\nCMD exec httpd -f -p $PORT -h /www\n";
    SourceFile::new("Dockerfile", dockerfile)
}

fn config(options: &str) -> SourceFile {
    SourceFile::new("panda.toml", format!("[health_check]\n{options}\n"))
}

/// Deploys `files` until the switch can be requested.
async fn ready(env: &Environment, flags: &[&str]) -> String {
    let replica = Replica::start(env, flags);
    let id = deploy(env, "main").await;
    status(env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
    id
}

#[tokio::test]
async fn health_check__redirecting_service_is_ready() {
    let env = Environment::with_files(vec![always("302 Found", "Location: /login")]).await;
    let id = ready(&env, &[]).await;
    let facts = env.db.db.deployment(&id).await.unwrap().unwrap().facts;
    assert_eq!(facts.green_error_rate, Some(0.0));
}

#[tokio::test]
async fn health_check__login_needs_its_code() {
    let env = Environment::with_files(vec![always("401 Unauthorized", "WWW-Authenticate: Basic")]).await;
    let failed = fails(&env, &[], "main", ErrorCode::GreenUnhealthy).await;
    let said = said(&env, &failed.id).await;
    assert!(said.contains("GET /health, /: 200-399") && said.contains("answered with status 401"), "{said}");

    let env = Environment::with_files(vec![
        always("401 Unauthorized", "WWW-Authenticate: Basic"),
        config("codes = \"200-399,401\"\ncount = 2"),
    ])
    .await;
    ready(&env, &[]).await;
}

#[tokio::test]
async fn health_check__path_of_commit_pipeline_or_server() {
    let env = Environment::with_files(vec![below_a_path(), config("path = \"/api/healthz\"")]).await;
    ready(&env, &[]).await;

    let env = Environment::with_files(vec![below_a_path(), config("path = \"/other\"\ncount = 1")]).await;
    let check = json!({"path": "/api/healthz"});
    env.sandbox.faults().set(Faults { green_health_check: Some(check), ..Faults::default() });
    ready(&env, &[]).await;

    let env = Environment::with_files(vec![below_a_path()]).await;
    ready(&env, &["--health-path=/api/healthz", "--health-count=1"]).await;
}

#[tokio::test]
async fn health_check__skip_is_reported() {
    let env = Environment::with_files(vec![below_a_path(), config("skip = true")]).await;
    let id = ready(&env, &[]).await;
    let emitted = events(&env, &id).await;
    assert!(codes(&emitted).ends_with(&["health_check_skipped", "awaiting_switch", "ready"]), "{:?}", codes(&emitted));
    let facts = env.db.db.deployment(&id).await.unwrap().unwrap().facts;
    assert_eq!((facts.green_error_rate, facts.green_latency_ms), (None, None));
}

#[tokio::test]
async fn health_check__invalid_options_name_the_field() {
    let env = Environment::with_files(vec![below_a_path(), config("codes = \"99\"")]).await;
    let failed = fails(&env, &[], "main", ErrorCode::BuildConfigInvalid).await;
    let text = said(&env, &failed.id).await;
    assert!(text.contains("panda.toml:2:9: health_check.codes must be"), "{text}");

    for (check, expected) in [
        (json!({"path": "healthz"}), "greenHealthCheck is not valid: path must be a path"),
        (json!({"matcher": "200"}), "unknown field"),
        (json!("/healthz"), "greenHealthCheck is not valid"),
    ] {
        let env = Environment::with_files(vec![below_a_path()]).await;
        env.sandbox.faults().set(Faults { green_health_check: Some(check), ..Faults::default() });
        let failed = fails(&env, &[], "main", ErrorCode::ExecutionOutputInvalid).await;
        let text = said(&env, &failed.id).await;
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_check__image_is_checked_as_before() {
    let env =
        Environment::with_files(vec![always("401 Unauthorized", "WWW-Authenticate: Basic"), config("codes = \"401\"")])
            .await;
    let replica = Replica::start(&env, &[]);
    let digest = live(&env).await;
    let id = deploy_what(&env, image(&digest)).await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let emitted = events(&env, &id).await;
    assert!(!emitted.iter().any(|event| event.render(Lang::En).message.contains("cloned")), "nothing is cloned");
    replica.stop().await;
}
