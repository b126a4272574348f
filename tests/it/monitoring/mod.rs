//! What operators see, asked of a Prometheus that scrapes a Panda at work: nothing that we say of our metrics to ourselves is worth as much.

mod server;
mod trouble;

use std::collections::BTreeSet;

use panda::db::schedules::Wanted;
use panda::sandbox::git::SourceFile;
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::chart::alerts::rules;
use crate::reconcile::{connect, deploy, status};
use crate::schedules::{due_now, hourly, made};
use crate::support::dashboard::{panels, read, targets};
use crate::support::process::Serve;
use crate::support::wait_for;
use crate::support::wishes::Wishes;
use crate::support::world::{TOKEN, World, tiny};
use server::Prometheus;

/// Panels of what does not happen here, or not for sure: nothing goes wrong, is late, is removed, or is started by the clock.
const QUIET: [&str; 13] = [
    "Without a database",
    "Oldest overdue",
    "Failed in the last hour",
    "Waits for a build",
    "Held back",
    "Retries of steps",
    "Throttled or without an answer",
    "Listeners that broke off",
    "Held back, over time",
    "Trouble",
    "Removed",
    "Schedules overdue",
    "Failed builds by fault",
];

/// An expression of the dashboard as Grafana sends it, for the Panda of the test and all of its time.
fn as_sent(expression: &str) -> String {
    let sent = ["namespace", "service"].iter().fold(expression.to_owned(), |sent, variable| {
        // As Grafana, which knows no end of a name but a character that cannot be in it.
        sent.replace(&format!("${variable}"), "panda")
    });
    let sent = sent.replace("$__rate_interval", "10m");
    assert!(!sent.contains('$'), "something is not replaced: {sent}");
    sent
}

/// What an expression picks among all series: `panda_…{…}`, each once.
fn selectors(expression: &str) -> BTreeSet<String> {
    let ours = expression.match_indices("panda_").filter_map(|(at, _)| {
        let rest = &expression[at..];
        // Not a word within a label's value.
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
        rest[name.len()..].starts_with('{').then(|| rest[..=rest.find('}').unwrap()].to_owned())
    });
    ours.collect()
}

/// The series of a replica, with their labels.
async fn series(replica: &Serve) -> BTreeSet<String> {
    let text = reqwest::get(format!("{}/metrics", replica.url)).await.unwrap().text().await.unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// Has happen what most panels show: a deployment that is completed and one that waits for a person, a build that a person stops,
/// streams that are read, a schedule that is due, a run of maintenance. The stream that it returns stays open.
async fn a_busy_day(world: &World, replica: &Serve, prometheus: &Prometheus) -> reqwest::Response {
    let reader = reqwest::get(format!("{}/api/v1/events", replica.url)).await.unwrap();
    let completed = deploy(world, "main").await;
    let follower = reqwest::get(format!("{}/api/v1/deploy/{completed}/events", replica.url)).await.unwrap();
    status(world, &completed, &["DEPLOYMENT_READY"]).await;
    world.db.db.request_switch(&completed).await.unwrap();
    status(world, &completed, &["COMPLETED"]).await;
    assert!(follower.text().await.unwrap().contains(&completed));

    let endless = vec![SourceFile::new("Dockerfile", "FROM busybox:1\nRUN sleep 600\n")];
    let endless = world.another_repository(endless).await;
    let stopped = deploy(&endless, "main").await;
    wait_for("the build is seen", async || prometheus.now("panda_builds_running > 0").await == [1.0]).await;
    wait_for("it is seen to be advanced", async || prometheus.now("panda_deployments_driven > 0").await == [1.0]).await;
    world.db.db.request_cancel(&stopped).await.unwrap();
    status(&endless, &stopped, &["FAILED"]).await;

    let waiting = world.another_repository(tiny()).await;
    let id = deploy(&waiting, "main").await;
    status(&waiting, &id, &["DEPLOYMENT_READY"]).await;

    // Its target is taken: the time of a schedule that is due is refused, which is counted, too.
    let (github, aws) = connect(&waiting, "main", TOKEN).await;
    let wanted = Wanted {
        github_connection_id: github.id,
        aws_connection_id: aws.id,
        repo: waiting.repo.clone(),
        ..hourly(&world.db.db).await
    };
    let schedule = made(&world.db.db, &wanted).await;
    due_now(&world.db, &schedule).await;

    let run = reqwest::Client::new().post(format!("{}/api/v1/maintenance/runs", replica.url));
    let run = run.json(&json!({"kind": "build_lines"})).send().await.unwrap();
    assert!(run.status().is_success(), "{}", run.text().await.unwrap());
    reader
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_answers_every_expression_and_panels_show_what_happened() {
    let world = World::with_files(tiny()).await;
    let replica = Serve::start(&world, &[], &[]);
    replica.ready().await;
    let before = series(&replica).await;
    let prometheus = Prometheus::watching(&replica.url, &rules()).await;
    let reader = a_busy_day(&world, &replica, &prometheus).await;

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
        assert!(panels(&dashboard).iter().any(|panel| panel["title"] == title), "there is no panel {title}");
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
    // What describes a builder replaces what was there before it answered, and nobody asks for its rate.
    let late: Vec<_> = after.difference(&before).filter(|series| !series.starts_with("panda_builder_info")).collect();
    assert!(late.is_empty(), "a rate misses the first of what is not there at zero from the start: {late:#?}");
    drop(reader);
}

/// Every selector of an expression picks series that there are: no name, label or value in it is mistyped.
async fn picks_something(prometheus: &Prometheus, title: &str, expression: &str) {
    let selectors = selectors(expression);
    assert!(!selectors.is_empty(), "{title}: {expression}");
    for selector in selectors {
        let found = prometheus.ask("series", &[("match[]", &selector)]).await;
        assert_ne!(found, json!([]), "{title}: nothing is {selector}");
    }
}
