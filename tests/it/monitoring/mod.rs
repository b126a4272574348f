//! Metrics, alerts and dashboards checked by a Prometheus that scrapes a working Panda, independently of Panda's own view of its metrics.

mod outage;

use std::collections::BTreeSet;

use panda::db::schedules::ScheduleSpec;
use panda_sandbox::git::SourceFile;
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::chart::alerts::rules;
use crate::reconcile::{connect, deploy, status};
use crate::schedules::{due_now, hourly, made};
use crate::support::commands::Commands;
use crate::support::dashboard::{panels, read, targets};
use crate::support::environment::{Environment, TOKEN, tiny};
use crate::support::process::Serve;
use crate::support::wait_for;
use panda_testing::prometheus::Prometheus;

/// Panels that may stay empty here: nothing fails, is late, or is removed, or not reliably.
const QUIET: [&str; 16] = [
    "Without a database",
    "Oldest overdue",
    "Failed in the last hour",
    "Waits for a build",
    "Held back",
    "Retries of steps",
    "Throttled or without an answer",
    "Throttled in spite of the budget",
    "Listeners that broke off",
    "Held back, over time",
    "Trouble",
    "Removed",
    "Schedules overdue",
    "Failed builds by fault",
    "Age of the oldest undelivered event",
    "Open deliveries",
];

/// An expression of the dashboard as Grafana sends it, for the test's Panda and its whole time.
fn as_sent(expression: &str) -> String {
    let sent = ["namespace", "service"].iter().fold(expression.to_owned(), |sent, variable| {
        // Like Grafana, which ends a variable's name only at a character that a name cannot contain.
        sent.replace(&format!("${variable}"), "panda")
    });
    let sent = sent.replace("$__rate_interval", "10m");
    assert!(!sent.contains('$'), "a variable is not replaced: {sent}");
    sent
}

/// The selectors in an expression: `panda_…{…}`, each once.
fn selectors(expression: &str) -> BTreeSet<String> {
    let ours = expression.match_indices("panda_").filter_map(|(at, _)| {
        let rest = &expression[at..];
        // A word within a label's value is not a metric.
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
        rest[name.len()..].starts_with('{').then(|| rest[..=rest.find('}').unwrap()].to_owned())
    });
    ours.collect()
}

/// The series of a replica, with their labels.
async fn series(replica: &Serve) -> BTreeSet<String> {
    let text = replica.metrics().await;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// Causes the events that most panels show: a completed deployment and one awaiting approval, a cancelled build, streams with readers, a due
/// schedule, a maintenance run. The returned stream stays open.
async fn a_busy_day(env: &Environment, replica: &Serve, prometheus: &Prometheus) -> reqwest::Response {
    let reader = reqwest::get(format!("{}/api/v1/events", replica.url)).await.unwrap();
    let completed = deploy(env, "main").await;
    let follower = reqwest::get(format!("{}/api/v1/deploy/{completed}/events", replica.url)).await.unwrap();
    status(env, &completed, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_switch(&completed).await.unwrap();
    status(env, &completed, &["COMPLETED"]).await;
    assert!(follower.text().await.unwrap().contains(&completed));

    let endless = vec![SourceFile::new("Dockerfile", "FROM busybox:1\nRUN sleep 600\n")];
    let endless = env.another_repository(endless).await;
    let stopped = deploy(&endless, "main").await;
    wait_for("the build is seen", async || prometheus.now("panda_builds_running > 0").await == [1.0]).await;
    wait_for("the metrics show a driven deployment", async || {
        prometheus.now("panda_deployments_driven > 0").await == [1.0]
    })
    .await;
    env.db.db.request_cancel(&stopped).await.unwrap();
    status(&endless, &stopped, &["FAILED"]).await;

    let waiting = env.another_repository(tiny()).await;
    let id = deploy(&waiting, "main").await;
    status(&waiting, &id, &["DEPLOYMENT_READY"]).await;

    // The schedule's target is busy, so that its due time is refused, which is counted as well.
    let (github, aws) = connect(&waiting, "main", TOKEN).await;
    let wanted = ScheduleSpec {
        github_connection_id: github.id,
        aws_connection_id: aws.id,
        repo: waiting.repo.clone(),
        ..hourly(&env.db.db).await
    };
    let schedule = made(&env.db.db, &wanted).await;
    due_now(&env.db, &schedule).await;

    let run = reqwest::Client::new().post(format!("{}/api/v1/maintenance/runs", replica.url));
    let run = run.json(&json!({"kind": "build_lines"})).send().await.unwrap();
    assert!(run.status().is_success(), "{}", run.text().await.unwrap());
    reader
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus__answers_every_expression_and_panel() {
    let env = Environment::with_files(tiny()).await;
    let replica = Serve::start(&env, &[], &[]);
    replica.ready().await;
    let before = series(&replica).await;
    let prometheus = Prometheus::watching(&replica.url, &rules()).await;
    let receiver = crate::webhooks::Receiver::start().await;
    crate::webhooks::webhook(&replica, &json!({"url": receiver.url})).await;
    let (github, aws) = crate::reconcile::connect(&env, "main", TOKEN).await;
    let rule = json!({"githubConnectionId": github.id, "awsConnectionId": aws.id, "owner": github.owner, "repo": github.repo,
                      "branches": ["main"]});
    let (_, at_github) = crate::pushes::hook(&crate::webhooks::caller(&replica), &json!({"rules": [rule]})).await;
    assert_eq!(at_github.send("ping", &crate::pushes::ping()).await.status, 202);
    let reader = a_busy_day(&env, &replica, &prometheus).await;

    let dashboard = read("operations.json");
    let mut expressions = 0;
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        let asked: Vec<(String, bool)> =
            targets(panel).iter().map(|t| (as_sent(t["expr"].as_str().unwrap()), t["instant"] == true)).collect();
        for (expression, _) in &asked {
            picks_something(&prometheus, title, expression).await;
            expressions += 1;
        }
        wait_for(&format!("{title} shows something: {asked:?}"), async || {
            let mut shown = QUIET.contains(&title);
            for (expression, instant) in &asked {
                let values =
                    if *instant { prometheus.now(expression).await } else { prometheus.lately(expression).await };
                shown |= values.iter().any(|value| *value > 0.0);
            }
            shown
        })
        .await;
    }
    assert!(expressions >= 30, "{expressions}");
    for title in QUIET {
        assert!(panels(&dashboard).iter().any(|panel| panel["title"] == title), "the panel {title} is missing");
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|v| v["type"] == "query") {
        let asked = as_sent(variable["definition"].as_str().unwrap());
        let (series, label) =
            asked.strip_prefix("label_values(").unwrap().trim_end_matches(')').split_once(", ").unwrap_or_default();
        let values = prometheus.ask(&format!("label/{label}/values"), &[("match[]", series)]).await;
        assert_eq!(values, json!(["panda"]), "{asked}");
    }

    for rule in rules()["groups"][0]["rules"].as_array().unwrap() {
        let (alert, expression) = (rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap());
        picks_something(&prometheus, alert, expression).await;
        prometheus.now(expression).await;
    }
    wait_for("Prometheus has evaluated all alerts itself", async || {
        let groups = prometheus.ask("rules", &[]).await;
        let known = groups["groups"][0]["rules"].as_array().unwrap();
        assert!(known.iter().all(|rule| rule["health"] != "err" && rule["state"] != "firing"), "{known:#?}");
        known.iter().all(|rule| rule["health"] == "ok")
    })
    .await;

    let after = series(&replica).await;
    // A builder's description replaces the earlier one once it answers; its rate is not queried.
    let late: Vec<_> = after.difference(&before).filter(|series| !series.starts_with("panda_builder_info")).collect();
    assert!(
        late.is_empty(),
        "series must exist with 0 from the start, or a rate misses the first increment: {late:#?}"
    );
    drop(reader);
}

/// Asserts that every selector of an expression matches series, so that no name, label or value is mistyped.
async fn picks_something(prometheus: &Prometheus, title: &str, expression: &str) {
    let selectors = selectors(expression);
    assert!(!selectors.is_empty(), "{title}: {expression}");
    for selector in selectors {
        let found = prometheus.ask("series", &[("match[]", &selector)]).await;
        assert_ne!(found, json!([]), "{title}: no series matches {selector}");
    }
}
