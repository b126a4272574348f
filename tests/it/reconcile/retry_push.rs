//! Another attempt adds a tag to the pushed image, or pushes it with another manifest where a tag starts no pipeline.

use panda::db::deployments::DeploymentView;
use panda::domain::ErrorCode;
use panda::domain::connection::AwsCredentials;
use panda_sandbox::{CallFault, Faults};
use pretty_assertions::assert_eq;

use super::retry::{codes_of, completed, execution_fault, fail, failed, retry};
use super::{Replica, deploy};
use crate::support::environment::InProcess as _;
use crate::support::environment::{Environment, hello, keys, tiny};
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__taken_over_starts_pipeline_once() {
    let env = Environment::with_files(hello("2.0.0")).await;
    env.sandbox.faults().set(execution_fault("EnsureInfra", fail()));
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    failed(&env, &id, ErrorCode::ExecutionFailed).await;
    replica.stop().await;
    env.sandbox.faults().clear();
    // The image gets its second tag, but the answer is lost, and the replica dies in the middle.
    let lost = CallFault { lose_reply: 100, ..CallFault::default() };
    env.sandbox.faults().set(Faults { calls: [("ecr:PutImage".to_owned(), lost)].into(), ..Faults::default() });
    let dying = Replica::start(&env, &["--lease-ms=1500"]);
    retry(&env, &id).await;
    wait_for("the image is tagged", async || {
        env.sandbox.all_effects().calls.get("ecr:PutImage").is_some_and(|calls| calls.received > 0)
    })
    .await;
    dying.kill();
    env.sandbox.faults().clear();
    let other = Replica::start(&env, &["--lease-ms=1500"]);
    completed(&env, &id).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.executions.values().copied().collect::<Vec<_>>(), [2], "{effects:?}");
    other.stop().await;
}

/// A first attempt that failed after its push, in a registry that reports no push for a new tag.
async fn failed_with_silent_tags(env: &Environment) -> (String, DeploymentView) {
    env.sandbox.faults().set(execution_fault("EnsureInfra", fail()));
    let replica = Replica::start(env, &[]);
    let id = deploy(env, "main").await;
    let before = failed(env, &id, ErrorCode::ExecutionFailed).await;
    replica.stop().await;
    env.sandbox.faults().set(Faults { silent_tags: true, ..Faults::default() });
    (id, before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__silent_tag_pushed_with_another_manifest() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let (id, before) = failed_with_silent_tags(&env).await;
    let replica = Replica::start(&env, &["--execution-wait-ms=1500"]);
    retry(&env, &id).await;
    let after = completed(&env, &id).await;
    let (first, second) = (before.facts.image_digest.unwrap(), after.facts.image_digest.unwrap());
    assert_ne!(first, second);
    assert!(after.facts.image_uri.unwrap().ends_with(&format!(":{id}-2.again")));
    let emitted = codes_of(&env, &id, 2).await;
    let pushes = ["retry_started", "push_stage_started", "ecr_repository_ensured", "push_completed"];
    assert_eq!(emitted[..4], pushes);
    assert_eq!(emitted[4..7], ["push_repeated", "push_started", "push_completed"]);
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!((effects.pushes.get(&first), effects.executions.get(&first)), (Some(&2), Some(&1)), "{effects:?}");
    assert_eq!((effects.pushes.get(&second), effects.executions.get(&second)), (Some(&1), Some(&1)), "{effects:?}");
    let services = env.services().await;
    let user = services.aws.user(
        "aws_test",
        env.sandbox.region(),
        &AwsCredentials::Keys(keys(env.sandbox.user_credentials())),
    );
    let parts = async |digest: &str| {
        let manifest = user.ecr.manifest(&env.ecr_repository(), digest).await.unwrap().unwrap();
        let text: serde_json::Value = serde_json::from_str(&manifest.text).unwrap();
        (manifest.media_type, text["config"].clone(), text["layers"].clone())
    };
    assert_eq!(parts(&first).await, parts(&second).await, "the same image");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__silent_tag_taken_over_pushes_once() {
    let env = Environment::with_files(tiny()).await;
    let (id, before) = failed_with_silent_tags(&env).await;
    let dying = Replica::start(&env, &["--lease-ms=1500", "--execution-wait-ms=1500"]);
    retry(&env, &id).await;
    wait_for("the new tag started nothing", async || {
        codes_of(&env, &id, 2).await.contains(&"push_completed".to_owned())
    })
    .await;
    // The manifest is stored, but the answer is lost, and the replica dies in the middle.
    let lost = CallFault { lose_reply: 100, ..CallFault::default() };
    env.sandbox.faults().update(|faults| _ = faults.calls.insert("ecr:PutImage".to_owned(), lost));
    let received = || env.sandbox.all_effects().calls.get("ecr:PutImage").map_or(0, |calls| calls.received);
    let tagged = received();
    wait_for("the other manifest is stored", async || received() > tagged).await;
    dying.kill();
    env.sandbox.faults().update(|faults| faults.calls.clear());
    let other = Replica::start(&env, &["--lease-ms=1500"]);
    let after = completed(&env, &id).await;
    let second = after.facts.image_digest.unwrap();
    assert_ne!(before.facts.image_digest.unwrap(), second);
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!((effects.pushes.get(&second), effects.executions.get(&second)), (Some(&1), Some(&1)), "{effects:?}");
    other.stop().await;
}
