//! Following a deployment from the command line, through a restart of the server.

use std::collections::HashSet;
use std::process::Stdio;
use std::time::Duration;

use panda_sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;

use super::{panda, run};
use crate::support::environment::{Environment, OWNER, TOKEN};
use crate::support::panda::Panda;

#[tokio::test]
async fn cli_watch__resumes_after_restart_without_repeats() {
    let env = Environment::start().await;
    let first = Panda::builder().environment(&env).flags(&["--migrate=true"]).server().await;
    let url = first.base.clone();
    let listen = url.strip_prefix("http://").unwrap();
    let id = deploy(&env, &url).await;

    let mut watching = panda(&["watch", &id, "--json", "--lang", "ko", "--server", &url]);
    let mut watching = watching.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut seen = vec![next(&mut lines).await.unwrap()];
    first.stop().await;
    let second = Panda::builder().environment(&env).flags(&[&format!("--listen={listen}")]).server().await;
    while let Some(line) = next(&mut lines).await {
        seen.push(line);
    }
    assert_eq!(watching.wait().await.unwrap().code(), Some(0));

    let result = seen.pop().unwrap();
    assert_eq!(result["event"], "result");
    assert_eq!(result["data"]["status"], "DEPLOYMENT_READY");
    assert_eq!(result["data"]["eventCount"], seen.len());
    let ids: HashSet<&str> = seen.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), seen.len());

    let switched = run(&mut panda(&["switch", &id, "--wait", "--lang", "ko", "--server", &url])).await;
    assert_eq!(switched.code, 0, "{switched:?}");
    assert!(!switched.stdout.contains("[Step 1]"), "what was seen before is not shown again: {}", switched.stdout);
    assert!(switched.stdout.contains("[Stage 4] 배포 완료") && switched.stdout.contains("COMPLETED"), "{switched:?}");
    second.stop().await;
}

#[tokio::test]
async fn cli_watch__retry_shows_only_new_attempt() {
    let env = Environment::start().await;
    let outcome = Outcome::Fail { error: "Lambda.Unknown".into(), cause: "the task broke".into() };
    let fails = ExecutionFault { state: "EnsureInfra".into(), outcome };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), fails)].into(), ..Faults::default() });
    let server = Panda::builder().environment(&env).flags(&["--migrate=true"]).server().await;
    let url = server.base.clone();
    let id = deploy(&env, &url).await;
    let failed = run(&mut panda(&["watch", &id, "--lang", "en", "--server", &url])).await;
    assert_eq!(failed.code, 1, "{failed:?}");
    let all = format!("{}{}", failed.stdout, failed.stderr);
    assert_eq!(all.matches("the task broke").count(), 1, "the cause is shown once: {failed:?}");
    assert!(
        failed.stderr.contains("(EXECUTION_FAILED)")
            && failed.stdout.contains(&format!("retry {id} --wait --server {url}")),
        "{failed:?}"
    );
    let second = run(&mut panda(&["deploy", "--concurrency", "maybe", "--server", &url])).await;
    assert!(second.code == 2 && second.stderr.contains("reject, queue or supersede"), "{second:?}");

    env.sandbox.faults().clear();
    let retried = run(&mut panda(&["retry", &id, "--wait", "--lang", "en", "--server", &url])).await;
    assert_eq!(retried.code, 0, "{retried:?}");
    assert!(retried.stdout.contains("Retry started (attempt 2)") && retried.stdout.contains("DEPLOYMENT_READY"));
    assert!(!retried.stdout.contains("[Step 1]"), "what was seen before is not shown again: {}", retried.stdout);
    assert!(retried.stdout.contains("Earlier attempts") && retried.stdout.contains("EXECUTION_FAILED"), "{retried:?}");
    let again = run(&mut panda(&["retry", &id, "--server", &url])).await;
    assert_eq!(again.code, 4);
    assert!(again.stderr.contains("RETRY_NOT_FAILED"), "{again:?}");
    let list = run(&mut panda(&["list", "--server", &url])).await;
    assert!(list.stdout.contains("attempt"), "{list:?}");
    server.stop().await;
}

/// Connects and deploys using commands only; returns the deployment's id.
async fn deploy(env: &Environment, url: &str) -> String {
    // Panda listens before its schema exists; readiness reports when it can be used.
    crate::support::wait_for("the server is ready", async || {
        reqwest::get(format!("{url}/readyz")).await.ok()?.status().is_success().then_some(())
    })
    .await;
    let mut github = panda(&["connect", "github", "--owner", OWNER, "--repo", &env.repo, "--server", url]);
    let github = run(github.env("PANDA_GITHUB_TOKEN", TOKEN)).await;
    assert_eq!(github.code, 0, "{github:?}");
    let keys = env.sandbox.user_credentials();
    let mut aws = panda(&["connect", "aws", "--region", env.sandbox.region(), "--server", url]);
    aws.env("AWS_ACCESS_KEY_ID", &keys.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.expose_secret());
    let aws = run(&mut aws).await;
    assert_eq!(aws.code, 0, "{aws:?}");
    let deployed = run(&mut panda(&["deploy", "--server", url])).await;
    assert_eq!(deployed.code, 0, "{deployed:?}");
    deployed.stdout.trim().to_owned()
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<Value> {
    let line = tokio::time::timeout(Duration::from_mins(2), lines.next_line()).await.expect("a line in time").unwrap();
    line.map(|line| serde_json::from_str(&line).unwrap())
}
