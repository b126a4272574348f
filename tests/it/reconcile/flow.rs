//! The happy path.

use super::{Replica, codes, deploy, events, status};
use crate::support::wait_for;
use crate::support::wishes::Wishes;
use crate::support::world::{World, hello};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_goes_from_a_branch_to_traffic_on_green() {
    let world = World::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;

    let ready = status(&world, &id, &["DEPLOYMENT_READY"]).await;
    let told = events(&world, &id).await;
    assert_eq!(
        codes(&told),
        [
            "event_rule_created",
            "event_bus_permission_requested",
            "event_bus_permission_granted",
            "clone_started",
            "repository_cloned",
            "dockerfile_search_started",
            "dockerfile_found",
            "build_started",
            "build_progress",
            "build_completed",
            "push_stage_started",
            "ecr_repository_ensured",
            "ecr_login_started",
            "ecr_login_completed",
            "push_started",
            "push_progress",
            "push_completed",
            "infra_started",
            "infra_completed",
            "blue_green_started",
            "blue_running",
            "green_ready",
            "blue_green_in_progress",
            "awaiting_switch",
            "ready",
        ]
    );
    let seqs: Vec<i64> = told.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(told.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(ready.event_count, *seqs.last().unwrap());

    let (blue, green) = (ready.blue_url.unwrap(), ready.green_url.unwrap());
    assert!(!text(&blue).await.contains("2.0.0"), "blue still has the traffic");
    assert!(text(&green).await.contains("2.0.0"));

    world.db.db.request_switch(&id).await.unwrap();
    world.db.db.notify_work(&id).await.unwrap();
    let done = status(&world, &id, &["COMPLETED"]).await;
    assert_eq!(done.final_service.as_deref(), Some("green"));
    assert!(done.completed_at.is_some());
    assert!(text(&blue).await.contains("2.0.0"), "the production listener serves green");
    let told = events(&world, &id).await;
    assert_eq!(codes(&told)[24..], ["ready", "switch_started", "deployment_completed", "completed"]);

    let effects = world.sandbox.effects(&world.ecr_repository());
    let digest = done.image_digest.unwrap();
    assert_eq!(effects.pushes.get(&digest), Some(&1), "{effects:?}");
    assert_eq!(effects.executions.get(&digest), Some(&1));
    assert_eq!(effects.continued.values().sum::<u32>(), 1);
    assert_eq!(done.execution_arn.as_ref(), effects.execution_arns.first());
    assert!(!world.workspaces().join(&id).exists(), "the workspace is removed when it is no longer needed");
    replica.stop().await;
    let left = wait_for("the replica left", async || {
        let mut psql = world.db.psql().await;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM replicas").fetch_one(&mut psql).await.unwrap();
        (count == 0).then_some(count)
    });
    left.await;
}

async fn text(url: &str) -> String {
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_target_that_needs_the_permission_first_gets_it_and_users_see_the_agreed_order() {
    let world = World::start().await;
    world.sandbox.faults().update(|faults| faults.refuse_unpermitted_targets = true);
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    let told = events(&world, &id).await;
    let first = ["event_rule_created", "event_bus_permission_requested", "event_bus_permission_granted"];
    assert_eq!(codes(&told)[..3], first);
    assert_eq!(world.sandbox.all_effects().permissions.values().copied().collect::<Vec<_>>(), [1]);
    replica.stop().await;
}
