//! Fields of a deployment's log lines for machine readers.

use chrono::{DateTime, Utc};
use reqwest::Client;
use serde_json::{Value, json};

use super::{lines, said};
use crate::reconcile::{deploy, status};
use crate::support::commands::Commands as _;
use crate::support::environment::{Environment, tiny};
use crate::support::process::Serve;
use crate::support::wait_for;

const ENV: [(&str, &str); 2] = [("PANDA_LOG_FORMAT", "json"), ("RUST_LOG", "info,panda=debug")];

/// The lines about work on `id`; lines of the API and the queue mention deployments without working on one.
fn of<'a>(lines: &'a [Value], id: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["deployment"] == id && line["attempt"] != Value::Null).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_fields__deployment_attempt_step_and_replica_on_every_line() {
    let env = Environment::with_files(tiny()).await;
    let serve = Serve::start(&env, &[], &ENV);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_switch(&id).await.unwrap();
    status(&env, &id, &["COMPLETED"]).await;
    let lines = wait_for("the deployment's end is logged", async || {
        let lines = lines(&serve);
        let done = lines.iter().any(|line| line["status"] == "COMPLETED");
        done.then_some(lines)
    })
    .await;

    let replica: String = sqlx::query_scalar("SELECT replica_name FROM step_runs WHERE deployment_id = $1 LIMIT 1")
        .bind(&id)
        .fetch_one(&mut env.db.psql().await)
        .await
        .unwrap();
    for line in &lines {
        let at = line["timestamp"].as_str().unwrap();
        assert!(at.ends_with('Z') && at.parse::<DateTime<Utc>>().is_ok(), "{line}");
        for field in ["level", "target", "message"] {
            assert!(line[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {line}");
        }
        assert_eq!(line["replica"], replica.as_str(), "{line}");
        assert!(
            line.as_object().unwrap().values().all(|value| !value.is_object() && !value.is_array()),
            "flat: {line}"
        );
        assert!(!line.to_string().contains("\\u001b"), "no colours: {line}");
        assert_ne!(line["level"], "ERROR", "no error: {line}");
        // A line within the work on a deployment has its step.
        let about = line["target"].as_str().unwrap();
        if ["panda::reconcile::driver", "panda::steps", "panda::clients"].iter().any(|room| about.starts_with(room)) {
            assert_eq!((&line["deployment"], &line["attempt"]), (&json!(id), &json!(1)), "{line}");
            assert!(line["step"].is_string(), "{line}");
        }
    }
    let ours = of(&lines, &id);
    let begun: Vec<&str> = ours
        .iter()
        .filter(|line| line["message"] == "step begins")
        .map(|line| line["step"].as_str().unwrap())
        .collect();
    assert_eq!(begun.len(), 11, "{begun:?}");
    let status = said(&lines, "deployment status changed").unwrap();
    assert_eq!((&status["status"], &status["step"]), (&json!("DEPLOYMENT_READY"), &json!("verify_green")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_filter__more_detail_for_one_deployment() {
    let env = Environment::with_files(tiny()).await;
    let replica = |flags: &[&str]| Serve::start(&env, flags, &[ENV[0]]);
    let serve = replica(&["--docker-host=unix:///nowhere/docker.sock"]);
    serve.ready().await;
    let id = deploy(&env, "main").await;
    let filter = format!("info,[deployment{{deployment={id}}}]=debug");
    let set = Client::new().put(format!("{}/api/v1/log", serve.url)).json(&json!({"filter": filter}));
    assert!(set.send().await.unwrap().status().is_success());
    // A filter that names spans applies to spans that begin later: here, those of the next replica.
    drop(serve);
    let next = replica(&[]);
    wait_for("the change is applied", async || said(&lines(&next), "log filter set").is_some()).await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let other = deploy(&env.another_repository(tiny()).await, "main").await;
    status(&env, &other, &["DEPLOYMENT_READY"]).await;
    let lines = lines(&next);
    let debug: Vec<_> = lines.iter().filter(|line| line["level"] == "DEBUG").collect();
    assert!(!debug.is_empty() && debug.iter().all(|line| line["deployment"] == id), "{debug:#?}");
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_fields__panic_has_fields_of_its_work() {
    let env = Environment::with_files(tiny()).await;
    let fault = ("FAILPOINTS", "fetch_source/git fetch/before=1*panic(boom)");
    let serve = Serve::start(&env, &[], &[ENV[0], fault, ("RUST_BACKTRACE", "1")]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let lines = lines(&serve);
    let line = said(&lines, "panic").unwrap();
    assert_eq!((&line["level"], &line["panic"]), (&json!("ERROR"), &json!("boom")), "{line}");
    assert_eq!((&line["deployment"], &line["step"], &line["attempt"]), (&json!(id), &json!("fetch_source"), &json!(1)));
    assert!(line["backtrace"].as_str().unwrap().contains("panda::"), "{line}");
    assert!(line["location"].as_str().unwrap().contains(".rs:"), "{line}");
}
