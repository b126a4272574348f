//! Rules and statements of removed connections are removed in AWS, unless another connection needs them.

use panda::background::remove_leftovers;
use panda::commands::connect::remove::remove;
use panda::domain::names::{Names, RULE_TARGET_ID};
use panda::domain::principal::Caller;
use panda_sandbox::{CallFault, Faults};
use pretty_assertions::assert_eq;
use sqlx::Executor as _;

use super::missing_link::clients;
use super::{Replica, deploy, status};
use crate::support::commands::Commands as _;
use crate::support::environment::{Environment, InProcess as _, OWNER};
use crate::support::wait_for;

/// Deploys, cancels when ready, and returns the deployment's connection to AWS.
async fn deployed(env: &Environment) -> String {
    let replica = Replica::start(env, &[]);
    let id = deploy(env, "main").await;
    status(env, &id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_cancel(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    status(env, &id, &["FAILED"]).await;
    replica.stop().await;
    let sql = "SELECT aws_connection_id FROM deployments WHERE id = $1";
    sqlx::query_scalar(sql).bind(&id).fetch_one(&mut env.db.psql().await).await.unwrap()
}

async fn removed(env: &Environment, id: &str) {
    remove(&env.db.db, id, &Caller::local()).await.unwrap();
}

async fn clean(env: &Environment) {
    let services = env.services().await;
    remove_leftovers(&env.db.db, &services).await.unwrap();
}

/// Whether the connection's secrets are stored, and whether something is left to clean up.
async fn left(env: &Environment, id: &str) -> (bool, bool) {
    let sql = "SELECT coalesce(wrapped_key, secret_access_key_encrypted) IS NOT NULL, cleanup_since IS NOT NULL FROM aws_connections WHERE id = $1";
    sqlx::query_as(sql).bind(id).fetch_one(&mut env.db.psql().await).await.unwrap()
}

fn statements(env: &Environment) -> usize {
    env.sandbox.bus_statements().len()
}

fn rule(env: &Environment) -> String {
    Names::default().rule(OWNER, &env.repo)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_connection__rule_statement_and_secrets_removed() {
    let env = Environment::start().await;
    let id = deployed(&env).await;
    assert!(env.sandbox.user_rules().contains_key(&rule(&env)));
    removed(&env, &id).await;
    assert_eq!(left(&env, &id).await, (true, true), "the credentials are needed for the rules");
    assert!(env.db.db.aws_connection(&id).await.unwrap().is_none(), "nothing else can use them");
    clean(&env).await;
    assert_eq!((env.sandbox.user_rules().len(), statements(&env)), (0, 0));
    assert_eq!(left(&env, &id).await, (false, false));
    clean(&env).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_connection__rule_of_another_connection_stays() {
    let env = Environment::start().await;
    let first = deployed(&env).await;
    let second = deployed(&env).await;
    assert_ne!(first, second);
    removed(&env, &first).await;
    clean(&env).await;
    assert_eq!(left(&env, &first).await, (false, false));
    assert!(env.sandbox.user_rules().contains_key(&rule(&env)), "the second connection deploys the repository");
    assert_eq!(statements(&env), 1);
    removed(&env, &second).await;
    clean(&env).await;
    assert_eq!((env.sandbox.user_rules().len(), statements(&env)), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_connection__rules_and_targets_of_others_stay() {
    let env = Environment::start().await;
    let id = deployed(&env).await;
    let (services, user) = clients(&env).await;
    let queue = format!("arn:aws:sqs:{}:{}:theirs", env.sandbox.region(), env.sandbox.user_account_id());
    user.rules.put_target(&rule(&env), "theirs", &queue, None).await.unwrap();
    user.rules.put_rule("theirs", "{\"source\": [\"aws.ecr\"]}", "Panda: image pushes of acme/shop").await.unwrap();
    services.aws.controller().bus.allow_account("panda", "panda-111122223333", "111122223333").await.unwrap();
    removed(&env, &id).await;
    clean(&env).await;
    let rules = env.sandbox.user_rules();
    assert_eq!(rules.len(), 2);
    assert_eq!(rules[&rule(&env)].len(), 1, "Panda's target is removed");
    assert_ne!(rules[&rule(&env)][0]["Id"], RULE_TARGET_ID);
    let statements = env.sandbox.bus_statements();
    assert_eq!((statements.len(), statements[0]["Sid"].as_str()), (1, Some("panda-111122223333")));
}

/// What was not removed yet is found again, by any replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_connection__found_again_until_aws_answers() {
    let env = Environment::start().await;
    let id = deployed(&env).await;
    removed(&env, &id).await;
    let fails = CallFault { fail: 1_000, ..CallFault::default() };
    env.sandbox.faults().set(Faults { calls: [("events:DeleteRule".to_owned(), fails)].into(), ..Faults::default() });
    clean(&env).await;
    assert_eq!(left(&env, &id).await, (true, true));
    env.sandbox.faults().clear();
    // The periodic task of a replica starts with a run.
    let replica = Replica::start(&env, &[]);
    wait_for("nothing is left", async || left(&env, &id).await == (false, false)).await;
    assert_eq!((env.sandbox.user_rules().len(), statements(&env)), (0, 0));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_connection__secrets_erased_after_an_hour_or_denial() {
    let env = Environment::start().await;
    let (first, second) = (deployed(&env).await, deployed(&env).await);
    removed(&env, &first).await;
    removed(&env, &second).await;
    let mut faults = Faults::default();
    faults.calls.insert("events:ListRules".to_owned(), CallFault { fail: 1_000, ..CallFault::default() });
    env.sandbox.faults().set(faults);
    let older =
        format!("UPDATE aws_connections SET cleanup_since = now() - interval '61 minutes' WHERE id = '{first}'");
    env.db.psql().await.execute(sqlx::AssertSqlSafe(older)).await.unwrap();
    clean(&env).await;
    assert_eq!(left(&env, &first).await, (false, false), "an hour has passed");
    assert_eq!(left(&env, &second).await, (true, true));
    let mut faults = Faults::default();
    for call in ["events:RemoveTargets", "events:RemovePermission"] {
        faults.calls.insert(call.to_owned(), CallFault { deny: true, ..CallFault::default() });
    }
    env.sandbox.faults().set(faults);
    clean(&env).await;
    assert_eq!(left(&env, &second).await, (false, false), "AWS denies it: another try would fail as well");
    assert_eq!(env.sandbox.user_rules().len(), 1);
}

/// With `managed`, others own the policy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_connection__managed_policy_untouched() {
    let env = Environment::start().await;
    let id = deployed(&env).await;
    removed(&env, &id).await;
    let controller = env.controller();
    let metrics = panda::metrics::Metrics::default();
    let services =
        panda::app::services(&env.config(&["--bus-policy=managed"]), Some(controller), &metrics).await.unwrap();
    remove_leftovers(&env.db.db, &services).await.unwrap();
    assert_eq!(left(&env, &id).await, (false, false));
    assert_eq!((env.sandbox.user_rules().len(), statements(&env)), (0, 1));
}
