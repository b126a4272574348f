//! The chain from a push to an execution: each link is looked up in the state, none is assumed.

use std::sync::Arc;

use chrono::{SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::accounts::{REGION, USER_ACCOUNT};
use super::aws::events::bus_arn;
use super::aws::sfn::STATE_MACHINE_ARN;
use super::effects::count;
use super::pipeline;
use super::simulation::Simulation;

/// The body of the registry's notifications, `application/vnd.docker.distribution.events.v1+json`.
#[derive(Deserialize)]
pub struct Notifications {
    events: Vec<Notification>,
}

#[derive(Deserialize)]
struct Notification {
    action: String,
    target: Target,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    #[serde(default)]
    media_type: String,
    digest: Option<String>,
    repository: Option<String>,
    tag: Option<String>,
    #[serde(default)]
    size: u64,
}

/// Handles the registry's notifications. Ignores pulls and blobs; a repeated notification (the
/// registry repeats one whose response it missed) finds its tag in place and raises no event.
pub fn notified(simulation: &Arc<Simulation>, envelope: Notifications) {
    for event in envelope.events {
        let target = event.target;
        let manifest = target.media_type.contains("manifest") || target.media_type.contains("image.index");
        if let ("push", true, Some(repository), Some(digest)) =
            (event.action.as_str(), manifest, target.repository, target.digest)
        {
            pushed(
                simulation,
                &Push { repository, digest, tag: target.tag, media_type: target.media_type, size: target.size },
            );
        }
    }
}

struct Push {
    repository: String,
    digest: String,
    tag: Option<String>,
    media_type: String,
    size: u64,
}

fn pushed(simulation: &Arc<Simulation>, push: &Push) {
    let new = simulation.change(|state| {
        let key = (USER_ACCOUNT.to_owned(), push.repository.clone());
        let Some(repository) = state.repositories.get_mut(&key) else {
            tracing::warn!(
                repository = push.repository,
                "sandbox: push to a repository that does not exist in ECR; ECR would reject it"
            );
            count(&mut state.effects.unknown_pushes, &push.repository);
            return false;
        };
        let silent = simulation.faults.get().silent_tags && repository.images.contains_key(&push.digest);
        let new = repository.record(&push.digest, push.tag.as_deref(), push.size, &push.media_type);
        count(&mut state.effects.of(&push.repository).pushes, &push.digest);
        new && !silent
    });
    if new {
        let event = event_of(push);
        simulation.change(|state| state.pushed_events.insert(push.repository.clone(), event.clone()));
        deliver(simulation, &bus_arn(USER_ACCOUNT, "default"), &event);
        let again = simulation.faults.look(|faults| faults.extra_deliveries);
        let shared = Arc::clone(simulation);
        simulation.spawn(async move {
            for _ in 0..again {
                tokio::time::sleep(shared.timing.execution_start_delay).await;
                deliver(&shared, &bus_arn(USER_ACCOUNT, "default"), &event);
            }
        });
    }
}

/// Delivers the event of the repository's last push again: EventBridge delivers at least once. Returns false when there was no push.
pub fn redeliver(simulation: &Arc<Simulation>, repository: &str) -> bool {
    let event = simulation.read(|state| state.pushed_events.get(repository).cloned());
    if let Some(event) = &event {
        deliver(simulation, &bus_arn(USER_ACCOUNT, "default"), event);
    }
    event.is_some()
}

fn event_of(push: &Push) -> Value {
    let mut detail = json!({
        "result": "SUCCESS", "repository-name": push.repository, "image-digest": push.digest, "action-type": "PUSH",
        "manifest-media-type": push.media_type,
    });
    if let Some(tag) = &push.tag {
        detail["image-tag"] = json!(tag);
    }
    json!({
        "version": "0", "id": Uuid::new_v4(), "detail-type": "ECR Image Action", "source": "aws.ecr", "account": USER_ACCOUNT,
        "time": Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true), "region": REGION, "resources": [], "detail": detail,
    })
}

/// Puts an event on a bus, and on the buses that its rules target. An event crosses accounts once, as in the real one.
fn deliver(simulation: &Arc<Simulation>, bus: &str, event: &Value) {
    let may_put = |role: &str, bus: &str| simulation.accounts.may_put_events(role, bus);
    let targets = simulation.buses(|buses| buses.targets(bus, event, may_put));
    tracing::debug!(bus, ?targets, "sandbox: event on a bus");
    for target in targets {
        if target == STATE_MACHINE_ARN {
            pipeline::start(simulation, event.clone());
        } else if target != bus
            && target.contains(":event-bus/")
            && event["account"].as_str().is_some_and(|account| bus.contains(account))
        {
            deliver(simulation, &target, event);
        }
    }
}
