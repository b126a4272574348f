//! The scenarios of docs/sandbox.md: each example of the document runs here, and ends as the document says.

mod accounts;
mod calls;
mod hostile_outputs;
mod visibility;

use std::path::Path;

use panda::db::deployments::DeploymentView;
use panda::domain::StoredEvent;
use panda_sandbox::Scenario;

use crate::reconcile::{Replica, codes, deploy, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, hello};
use crate::support::wait_for;

/// The examples of the document, by heading.
fn examples() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sandbox.md")).unwrap();
    let sections = text.split("\n### ").skip(1);
    let found = sections.filter_map(|section| {
        let (heading, rest) = section.split_once('\n')?;
        let (_, block) = rest.split_once("```toml\n")?;
        Some((heading.to_owned(), block.split_once("```")?.0.to_owned()))
    });
    found.collect()
}

/// The example under `heading`.
pub fn example(heading: &str) -> Scenario {
    let (_, text) = examples().into_iter().find(|(found, _)| found == heading).expect(heading);
    Scenario::parse(&text).unwrap()
}

pub async fn environment(scenario: &Scenario) -> Environment {
    Environment::in_scenario(hello("2.0.0"), None, scenario).await
}

/// A deployment that went from a push to COMPLETED.
pub struct Completed {
    pub env: Environment,
    pub view: DeploymentView,
    pub events: Vec<StoredEvent>,
}

/// Deploys and switches in this scenario; checks that nothing is lost, and that nothing happens twice for one execution.
pub async fn completes(scenario: &Scenario) -> Completed {
    let env = environment(scenario).await;
    let replica = Replica::start(&env, &["--execution-wait-ms=30000"]);
    let id = deploy(&env, "main").await;
    let completed = switched(env, &id).await;
    replica.stop().await;
    completed
}

/// Switches a deployment once it is ready, and waits for its end.
pub async fn switched(env: Environment, id: &str) -> Completed {
    wait_for("the switch is requested while the deployment is ready", async || {
        status(&env, id, &["DEPLOYMENT_READY"]).await;
        env.db.db.request_switch(id).await.unwrap();
        let view = env.db.db.deployment(id).await.unwrap().unwrap();
        view.switch_requested_at
    })
    .await;
    env.db.db.notify_work(id).await.unwrap();
    let view = status(&env, id, &["COMPLETED"]).await;
    let events = events(&env, id).await;
    let count = |code: &str| events.iter().filter(|event| event.code == code).count();
    for code in ["event_rule_created", "event_bus_permission_granted", "push_completed", "completed"] {
        assert_eq!(count(code), 1, "{code}: {:?}", codes(&events));
    }
    let executions = 1 + count("execution_replaced");
    for code in ["infra_completed", "ready"] {
        assert!((1..=executions).contains(&count(code)), "{code}: {:?}", codes(&events));
    }
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(events.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(view.facts.final_service.as_deref(), Some("green"));
    let effects = env.sandbox.effects(&env.ecr_repository());
    let digest = view.facts.image_digest.as_ref().unwrap();
    assert_eq!((effects.created, effects.pushes.get(digest)), (1, Some(&1)), "{effects:?}");
    let sum = |counts: &std::collections::BTreeMap<String, u32>| counts.values().sum::<u32>();
    assert!(effects.continued.values().all(|&count| count == 1), "{effects:?}");
    assert!((1..=executions).contains(&effects.continued.len()) && sum(&effects.shifted) == 1, "{effects:?}");
    Completed { env, view, events }
}

#[test]
fn scenario__every_example_is_valid_and_tested() {
    let sources = ["accounts.rs", "calls.rs", "visibility.rs"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/scenarios");
    let tests: String = sources.iter().map(|file| std::fs::read_to_string(folder.join(file)).unwrap()).collect();
    let examples = examples();
    assert!(examples.len() > 12, "{}", examples.len());
    for (heading, text) in examples {
        Scenario::parse(&text).unwrap_or_else(|error| panic!("{heading}: {error}"));
        assert!(tests.contains(&format!("\"{heading}\"")), "no test runs the example {heading:?}");
    }
}
