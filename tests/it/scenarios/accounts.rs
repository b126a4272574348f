//! Roles whose sessions expire, and other partitions.

use panda::domain::connection::{AwsConnection, AwsCredentials};
use panda::domain::ids;
use panda_sandbox::Scenario;
use secrecy::SecretString;

use super::{completes, environment, example, switched};
use crate::reconcile::{Replica, connect, deploy};
use crate::support::environment::TOKEN;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_sessions__role_is_assumed_again() {
    let scenario = example("Sessions of a role expire");
    let env = environment(&scenario).await;
    let id = deploy(&env, "main").await;
    let (_, keys) = connect(&env, "main", TOKEN).await;
    let role_arn = scenario.roles[0].arn.clone();
    let credentials = AwsCredentials::Role { role_arn, external_id: SecretString::from("right") };
    let role = AwsConnection { id: ids::aws_connection_id(), credentials, ..keys };
    env.db.db.insert_aws_connection(&role).await.unwrap();
    let sql = "UPDATE deployments SET aws_connection_id = $1 WHERE id = $2";
    sqlx::query(sql).bind(&role.id).bind(&id).execute(&mut env.db.psql().await).await.unwrap();
    let replica = Replica::start(&env, &[]);
    let completed = switched(env, &id).await;
    let calls = completed.env.sandbox.all_effects().calls;
    assert!(calls["sts:AssumeRole"].succeeded > 1, "{calls:?}");
    replica.stop().await;
}

/// Deploys in a region, and checks the partition of what Panda reads.
async fn in_partition(scenario: &Scenario, partition: &str) {
    let completed = completes(scenario).await;
    let region = scenario.region.as_deref().unwrap();
    let execution = completed.view.facts.execution_arn.clone().unwrap();
    assert!(execution.starts_with(&format!("arn:{partition}:states:{region}:123456789012:execution:")), "{execution}");
    assert!(completed.env.sandbox.bus_arn().starts_with(&format!("arn:{partition}:events:{region}:")));
    let shown = serde_json::to_string(&completed.view.facts).unwrap();
    assert!(!shown.contains("arn:aws:") && !shown.contains("ap-northeast-2"), "{shown}");
    let mut params = completed.events.iter().map(|event| serde_json::to_string(&event.params).unwrap());
    assert!(params.all(|text| !text.contains("arn:aws:")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partition__china() {
    in_partition(&example("China"), "aws-cn").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partition__gov_cloud() {
    in_partition(&example("GovCloud"), "aws-us-gov").await;
}
