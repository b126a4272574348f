//! Whole deployments without faults.

use super::{Replica, UNTIL_PUSHED, codes, deploy, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, hello};
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploy__from_branch_to_traffic_on_green() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;

    let ready = status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let emitted = events(&env, &id).await;
    let after_push = [
        "infra_started",
        "infra_completed",
        "blue_green_started",
        "blue_running",
        "green_ready",
        "blue_green_in_progress",
        "awaiting_switch",
        "ready",
    ];
    assert_eq!(codes(&emitted), [&UNTIL_PUSHED[..], &after_push[..]].concat());
    let seqs: Vec<i64> = emitted.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(emitted.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(ready.event_count, *seqs.last().unwrap());

    let (blue, green) = (ready.facts.blue_url.unwrap(), ready.facts.green_url.unwrap());
    assert!(!text(&blue).await.contains("2.0.0"), "blue still has the traffic");
    assert!(text(&green).await.contains("2.0.0"));

    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    let done = status(&env, &id, &["COMPLETED"]).await;
    assert_eq!(done.facts.final_service.as_deref(), Some("green"));
    assert!(done.completed_at.is_some());
    assert!(text(&blue).await.contains("2.0.0"), "the production listener serves green");
    let emitted = events(&env, &id).await;
    assert_eq!(codes(&emitted)[24..], ["ready", "switch_started", "deployment_completed", "completed"]);

    let effects = env.sandbox.effects(&env.ecr_repository());
    let digest = done.facts.image_digest.unwrap();
    assert_eq!(effects.pushes.get(&digest), Some(&1), "{effects:?}");
    assert_eq!(effects.executions.get(&digest), Some(&1));
    assert_eq!(effects.continued.values().sum::<u32>(), 1);
    assert_eq!(done.facts.execution_arn.as_ref(), effects.execution_arns.first());
    assert!(!env.workspaces().join(&id).exists(), "the workspace is removed when it is no longer needed");
    replica.stop().await;
    let left = wait_for("the replica left", async || {
        let mut psql = env.db.psql().await;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM replicas").fetch_one(&mut psql).await.unwrap();
        (count == 0).then_some(count)
    });
    left.await;
}

async fn text(url: &str) -> String {
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn deploy__missing_bus_permission_granted_first() {
    let env = Environment::start().await;
    env.sandbox.faults().update(|faults| faults.refuse_unpermitted_targets = true);
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let emitted = events(&env, &id).await;
    let first = ["event_rule_created", "event_bus_permission_requested", "event_bus_permission_granted"];
    assert_eq!(codes(&emitted)[..3], first);
    assert_eq!(env.sandbox.all_effects().permissions.values().copied().collect::<Vec<_>>(), [1]);
    replica.stop().await;
}
