//! EXECUTION_NOT_FOUND names the missing link of the chain from the push to the execution.

use std::sync::Arc;

use panda::clients::aws::UserAws;
use panda::domain::ErrorCode;
use panda::domain::connection::{AwsCredentials, AwsKeys};
use panda::domain::names::{RULE_TARGET_ID, push_event_pattern};
use panda::steps::Services;
use panda_sandbox::git::SourceFile;
use panda_sandbox::{CallFault, Faults, SecretFault};
use secrecy::{ExposeSecret, SecretString};

use super::failures::said;
use super::{Replica, deploy, status};
use crate::support::commands::Commands;
use crate::support::environment::InProcess as _;
use crate::support::environment::{Environment, OWNER};
use crate::support::wait_for;

/// Long enough to break a link while the execution is awaited.
const WAIT: &str = "--execution-wait-ms=4000";

pub async fn clients(env: &Environment) -> (Arc<Services>, UserAws) {
    let services = env.services().await;
    let keys = env.sandbox.user_credentials();
    let credentials = AwsCredentials::Keys(AwsKeys {
        access_key_id: keys.access_key_id.clone(),
        secret_access_key: SecretString::from(keys.secret_access_key.expose_secret()),
        session_token: None,
    });
    let user = services.aws.user("aws_test", env.sandbox.region(), &credentials);
    (services, user)
}

/// Waits until the deployment has failed because there was no execution; returns the message.
async fn not_found(env: &Environment, id: &str) -> String {
    let failed = status(env, id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::ExecutionNotFound.as_str()), "{:?}", failed.error_message);
    said(env, id).await
}

/// Deploys, breaks a link while the execution is awaited, and returns the message of the failure.
async fn broken(secret: SecretFault, act: impl AsyncFnOnce(&Environment, &str)) -> String {
    let env = Environment::start().await;
    env.sandbox.faults().set(Faults { secret, ..Faults::default() });
    let replica = Replica::start(&env, &[WAIT]);
    let id = deploy(&env, "main").await;
    wait_for("the execution is awaited", async || {
        env.db.db.deployment(&id).await.unwrap().unwrap().step == "find_execution"
    })
    .await;
    act(&env, &id).await;
    let said = not_found(&env, &id).await;
    replica.stop().await;
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn execution_not_found__names_absent_secret() {
    let said = broken(SecretFault::NotWritten, async |_, _| {}).await;
    assert!(said.contains("missing: secret panda/stepfunctions/") && said.contains("does not exist: no"), "{said}");
    assert!(!said.contains("could not be checked"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn execution_not_found__names_malformed_secret() {
    let said = broken(SecretFault::Malformed, async |_, _| {}).await;
    assert!(said.contains("is not the ARN of an execution"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn execution_not_found__names_changed_rule_and_target() {
    let said = broken(SecretFault::NotWritten, async |env, _| {
        let (services, user) = clients(env).await;
        let rule = services.names.rule(OWNER, &env.repo);
        user.rules.put_rule(&rule, &push_event_pattern("another"), "changed").await.unwrap();
        let elsewhere = format!("arn:aws:events:{}:{}:event-bus/other", env.sandbox.region(), "111122223333");
        user.rules.put_target(&rule, RULE_TARGET_ID, &elsewhere, Some(&env.sandbox.events_role())).await.unwrap();
    })
    .await;
    assert!(said.contains("has another event pattern"), "{said}");
    assert!(said.contains("has no target panda that leads to"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn execution_not_found__names_links_that_may_not_be_read() {
    let said = broken(SecretFault::NotWritten, async |env, _| {
        let denied = CallFault { deny: true, ..CallFault::default() };
        env.sandbox.faults().update(|faults| {
            for call in ["events:DescribeRule", "events:ListTargetsByRule"] {
                faults.calls.insert(call.to_owned(), denied.clone());
            }
        });
    })
    .await;
    assert!(said.contains("could not be checked: the rule (events:DescribeRule: "), "{said}");
    assert!(said.contains("events:ListTargetsByRule"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn execution_not_found__names_execution_of_another_image() {
    let env = Environment::start().await;
    let replica = Replica::start(&env, &[WAIT]);
    let first = deploy(&env, "main").await;
    status(&env, &first, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_switch(&first).await.unwrap();
    let first = status(&env, &first, &["COMPLETED"]).await;
    env.sandbox.faults().set(Faults { secret: SecretFault::NotWritten, ..Faults::default() });
    env.github.repositories().commit(OWNER, &env.repo, "main", vec![SourceFile::new("VERSION", "3\n")]).await.unwrap();
    let second = deploy(&env, "main").await;
    let said = not_found(&env, &second).await;
    let owner = format!("names {}, which belongs to another image ({})", first.facts.execution_arn.unwrap(), first.id);
    assert!(said.contains(&owner), "{said}");
    replica.stop().await;
}

/// A rule that is in place is not put again: that would restart its propagation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_rule__put_only_where_it_differs() {
    let env = Environment::start().await;
    let replica = Replica::start(&env, &[]);
    let deployed = async || {
        let id = deploy(&env, "main").await;
        status(&env, &id, &["DEPLOYMENT_READY"]).await;
        env.db.db.request_switch(&id).await.unwrap();
        env.db.db.notify_work(&id).await.unwrap();
        status(&env, &id, &["COMPLETED"]).await;
        let effects = env.sandbox.effects(&env.ecr_repository());
        (effects.rules.values().sum::<u32>(), effects.targets.values().sum::<u32>())
    };
    assert_eq!(deployed().await, (1, 1));
    assert_eq!(deployed().await, (1, 1), "nothing differs");
    let (services, user) = clients(&env).await;
    let rule = services.names.rule(OWNER, &env.repo);
    user.rules.put_rule(&rule, &push_event_pattern("another"), "changed").await.unwrap();
    assert_eq!(deployed().await, (2, 1), "the changed rule is put again, its target is in place");
    let denied = CallFault { deny: true, ..CallFault::default() };
    env.sandbox.faults().update(|faults| {
        for call in ["events:DescribeRule", "events:ListTargetsByRule"] {
            faults.calls.insert(call.to_owned(), denied.clone());
        }
    });
    assert_eq!(deployed().await, (3, 2), "without the right to look, both are put");
    replica.stop().await;
}
