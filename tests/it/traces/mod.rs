//! Traces as a collector receives them.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use panda_sandbox::git::SourceFile;
use pretty_assertions::assert_eq;
use secrecy::ExposeSecret;

use crate::cli::{panda, run};
use crate::reconcile::{deploy, status};
use crate::support::commands::Commands;
use crate::support::db::TestDb;
use crate::support::environment::{Environment, OWNER, tiny};
use crate::support::process::Serve;
use crate::support::wait_for;
use panda_testing::trace_collector::{Collector, ReceivedSpan};

async fn trace_of(env: &Environment, id: &str) -> String {
    let sql = "SELECT trace_id FROM deployments WHERE id = $1";
    sqlx::query_scalar(sql).bind(id).fetch_one(&mut env.db.psql().await).await.unwrap()
}

async fn leave(mut replica: Serve) {
    replica.signal(Signal::SIGTERM);
    assert!(replica.wait().await.success(), "{}", replica.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace__one_per_deployment_across_replicas() {
    let (env, (collector, url)) = (Environment::with_files(tiny()).await, Collector::start().await);
    let variables = [("PANDA_OTLP_ENDPOINT", url.as_str())];
    let first = Serve::start(&env, &[], &variables);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let metrics = first.metrics().await;
    let done = |call: &str| format!("panda_aws_requests_total{{call=\"{call}\",outcome=\"done\"}} ");
    let never = format!("{}0\n", done("codedeploy:ContinueDeployment"));
    assert!(metrics.contains(&never), "there from the start: {metrics}");
    let count = metrics.split_once(&done("events:PutRule")).unwrap().1;
    assert!(!count.starts_with('0'), "{metrics}");
    for line in [
        "panda_aws_call_seconds_count{call=\"states:GetExecutionHistory\"}",
        "panda_deployment_changes_total{status=\"DEPLOYMENT_READY\"} 1\n",
        "panda_step_seconds_count{step=\"build_image\"} 1\n",
        "panda_step_retries_total{step=\"confirm_switch\"} 0\n",
        "panda_claims_total 1\n",
        "panda_ownership_lost_total 0\n",
        "panda_builds_running 0\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(!metrics.contains("panda_lateness_seconds_count 0\n") && !metrics.contains(&id), "{metrics}");
    leave(first).await;
    let second = Serve::start(&env, &[], &variables);
    env.db.db.request_switch(&id).await.unwrap();
    status(&env, &id, &["COMPLETED"]).await;
    leave(second).await;

    let spans: Vec<ReceivedSpan> = collector.spans();
    let trace = trace_of(&env, &id).await;
    let strangers: Vec<_> = spans.iter().filter(|span| span.trace != trace && span.parent.is_empty()).collect();
    assert!(strangers.iter().all(|span| span.name != "step" && span.name != "deployment"), "{strangers:#?}");
    let spans: HashMap<&str, &ReceivedSpan> =
        spans.iter().filter(|span| span.trace == trace).map(|span| (span.id.as_str(), span)).collect();
    let roots: Vec<_> = spans.values().filter(|span| span.parent.is_empty()).collect();
    let [root] = roots[..] else { panic!("{roots:#?}") };
    assert_eq!(root.name, format!("deploy {}/{}", OWNER, env.repo));
    assert_eq!((root.service.as_str(), root.error.as_deref()), ("panda", None));
    assert_eq!(root.attributes["panda.deployment.id"], id);
    assert_eq!(root.attributes["panda.deployment.status"], "COMPLETED");

    for span in spans.values().filter(|span| span.id != root.id) {
        let parent = spans.get(span.parent.as_str()).unwrap_or_else(|| panic!("no parent of {span:#?}"));
        assert!(root.time.0 <= span.time.0 + 1_000_000_000 && span.time.1 <= root.time.1 + 1_000_000_000, "{span:#?}");
        let level = match span.name.as_str() {
            "deployment" => parent.id == root.id,
            name if name.contains(':') || name.contains(' ') => parent.name != "deployment" && parent.id != root.id,
            _ => parent.name == "deployment",
        };
        assert!(level, "{span:#?} below {parent:#?}");
    }
    let names: HashSet<&str> = spans.values().map(|span| span.name.as_str()).collect();
    for name in [
        "ensure_event_rule",
        "grant_event_bus",
        "fetch_source",
        "build_image",
        "push_image",
        "find_execution",
        "follow_execution",
        "switch_traffic",
        "confirm_switch",
        "git fetch",
        "buildkit solve",
        "docker push",
        "events:PutRule",
        "ecr:GetAuthorizationToken",
        "states:GetExecutionHistory",
        "codedeploy:ContinueDeployment",
    ] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    let replicas = spans.values().filter(|span| span.name == "deployment").count();
    assert!(replicas >= 2, "each replica sends its spans");
    let polls = spans.values().filter(|span| span.name == "follow_execution").count();
    assert_eq!(polls, 1, "a step is one span, however often it polls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace__failure_marks_step_and_root_without_secrets() {
    let broken = vec![SourceFile::new("Dockerfile", "FROM busybox:1\nRUN false\n")];
    let (env, (collector, url)) = (Environment::with_files(broken).await, Collector::start().await);
    let replica = Serve::start(&env, &[], &[("PANDA_OTLP_ENDPOINT", url.as_str())]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["FAILED"]).await;
    leave(replica).await;
    let trace = trace_of(&env, &id).await;
    let spans: Vec<ReceivedSpan> = collector.spans().into_iter().filter(|span| span.trace == trace).collect();
    let build = spans.iter().find(|span| span.name == "build_image").unwrap();
    assert!(build.error.is_some() && build.attributes["error.type"] == "BUILD_FAILED", "{build:#?}");
    let root = spans.iter().find(|span| span.name.starts_with("deploy ")).unwrap();
    assert_eq!(root.error.as_deref(), Some("BUILD_FAILED"));
    for keys in [env.sandbox.user_credentials(), env.sandbox.controller_credentials()] {
        let secret = keys.secret_access_key.expose_secret();
        assert!(!spans.iter().any(|span| span.whole.contains(secret)), "a secret is in a span");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace__missing_collector_is_harmless() {
    let env = Environment::with_files(tiny()).await;
    let replica = Serve::start(&env, &[], &[("PANDA_OTLP_ENDPOINT", "http://127.0.0.1:1")]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let received = Instant::now();
    leave(replica).await;
    assert!(received.elapsed() < Duration::from_secs(6), "{:?}", received.elapsed());
}

#[tokio::test]
async fn trace__invalid_endpoint_refused_naming_option() {
    let db = TestDb::new().await;
    for (endpoint, word) in [("collector:4318", "http://"), ("", "http://"), ("ftp://collector", "http://")] {
        let serve = ["serve", "--database-url", db.url(), "--otlp-endpoint", endpoint];
        let refused = run(&mut panda(&serve)).await;
        assert_ne!(refused.code, 0, "{endpoint}");
        assert!(refused.stderr.contains("PANDA_OTLP_ENDPOINT") && refused.stderr.contains(word), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace__independent_of_log_filter() {
    let (env, (collector, url)) = (Environment::with_files(tiny()).await, Collector::start().await);
    let serve = Serve::start(&env, &[], &[("PANDA_OTLP_ENDPOINT", url.as_str())]);
    serve.ready().await;
    let set = reqwest::Client::new().put(format!("{}/api/v1/log", serve.url));
    assert!(set.json(&serde_json::json!({"filter": "error"})).send().await.unwrap().status().is_success());
    wait_for("the change is applied", async || serve.log().contains("log filter set")).await;
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    assert!(!serve.log().contains("step begins"), "{}", serve.log());
    leave(serve).await;
    let names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    for name in ["deployment", "build_image", "buildkit solve", "events:PutRule"] {
        assert!(names.iter().any(|of| of == name), "{name}: {names:?}");
    }
}
