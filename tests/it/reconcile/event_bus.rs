//! The way from an account's rule to the event bus: roles of targets, and the policy of the bus.

use panda::commands::connect::aws::rule_role::{RoleNames, create};
use panda::db::deployments::NewDeployment;
use panda::domain::connection::AwsConnection;
use panda::domain::deployment::Concurrency;
use panda::domain::names::push_event_pattern;
use panda::domain::principal::Caller;
use panda::domain::request::Requested;
use panda::domain::{ErrorCode, ids};
use panda::steps::FIRST_STEP;
use panda_sandbox::{CallFault, Faults};
use serde_json::{Value, json};

use super::failures::{failed_as, fails, said};
use super::missing_link::clients;
use super::{Replica, codes, connect, deploy, events, status};
use crate::support::environment::{Environment, InProcess as _, OWNER, TOKEN, keys};

/// A default role of another account, which does not apply here.
const NO_ROLE: &str = "--rule-target-role-arn=arn:aws:iam::111122223333:role/events";

/// Deploys `main` with a connection that is stored already.
async fn deploy_through(env: &Environment, aws: &AwsConnection) -> String {
    let (github, _) = connect(env, "main", TOKEN).await;
    let new = NewDeployment {
        id: ids::deployment_id(),
        owner: OWNER.into(),
        repo: env.repo.clone(),
        requested: Requested::branch("main"),
        github_connection_id: github.id,
        aws_connection_id: aws.id.clone(),
        account_id: aws.account_id.clone(),
        region: aws.region.clone(),
        ecr_repository: env.ecr_repository(),
        first_step: FIRST_STEP.into(),
        caused_by: None,
        freeze_override: None,
        trace: None,
        concurrency: Concurrency::Reject,
    };
    let created = panda::commands::deploy::deploy(&env.db.db, &new, None, &Caller::local(), |_| Value::Null).await;
    created.unwrap();
    env.db.db.notify_work(&new.id).await.unwrap();
    new.id
}

/// The role of the only target of the only rule.
fn target_role(env: &Environment) -> Value {
    let rules = env.sandbox.user_rules();
    let targets: Vec<&Value> = rules.values().flatten().collect();
    assert_eq!(targets.len(), 1, "{rules:?}");
    targets[0]["RoleArn"].clone()
}

#[tokio::test]
async fn event_rule__missing_role_named_with_both_remedies() {
    let env = Environment::start().await;
    let failed = fails(&env, &[NO_ROLE], "main", ErrorCode::EventRuleFailed).await;
    let said = said(&env, &failed.id).await;
    assert!(said.contains("RoleArn is required for target") && said.contains("another account"), "{said}");
    assert!(
        said.contains("panda connections create-role aws_") && said.contains("--rule-target-role-arn ARN"),
        "{said}"
    );
}

#[tokio::test]
async fn event_rule__connection_role_created_and_used() {
    let env = Environment::start().await;
    let services = env.services().await;
    let (_, aws) = connect(&env, "main", TOKEN).await;
    let of = RoleNames { event_bus: &services.settings.event_bus, names: &services.names };
    let role = create(&env.db.db, &services.aws, of, &aws.id, &Caller::local()).await.unwrap().role.arn;
    let replica = Replica::start(&env, &[NO_ROLE]);
    let id = deploy_through(&env, &aws).await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    assert_eq!(target_role(&env), json!(role));
    replica.stop().await;
}

/// A default with `{account}` serves every account, and a bus of another region as well.
#[tokio::test]
async fn event_rule__default_role_for_each_account_and_region() {
    let env = Environment::start().await;
    env.sandbox.move_bus("us-east-1");
    let replica = Replica::start(&env, &["--rule-target-role-arn=arn:aws:iam::{account}:role/panda-events"]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    assert_eq!(target_role(&env), json!(env.sandbox.events_role()));
    assert!(env.sandbox.bus_statements()[0]["Resource"].as_str().unwrap().contains(":us-east-1:"));
    replica.stop().await;
}

#[tokio::test]
async fn event_rule__role_that_events_may_not_assume_named() {
    let env = Environment::start().await;
    let role = format!("arn:aws:iam::{}:role/absent", env.sandbox.user_account_id());
    let flag = format!("--rule-target-role-arn={role}");
    let failed = fails(&env, &[&flag], "main", ErrorCode::EventRuleFailed).await;
    let said = said(&env, &failed.id).await;
    assert!(said.contains(&role) && said.contains("trust events.amazonaws.com"), "{said}");
}

/// One account and region: neither role nor statement.
#[tokio::test]
async fn event_bus__own_account_needs_no_role_and_no_statement() {
    let env = Environment::start().await;
    let config = env.config(&["--event-bus=panda-local", NO_ROLE]);
    let running = panda::app::start(config, Some(keys(env.sandbox.user_credentials()))).await.unwrap();
    let id = deploy(&env, "main").await;
    // No state machine listens to that bus.
    let failed = failed_as(&env, &id, ErrorCode::ExecutionNotFound).await;
    let emitted = events(&env, &failed.id).await;
    let first = ["event_rule_created", "event_bus_permission_requested", "event_bus_permission_granted"];
    assert_eq!(codes(&emitted)[..3], first);
    assert_eq!(target_role(&env), Value::Null);
    assert!(env.sandbox.all_effects().permissions.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn bus_policy__managed_is_only_read() {
    let env = Environment::start().await;
    let replica = Replica::start(&env, &["--bus-policy=managed"]);
    let id = deploy(&env, "main").await;
    failed_as(&env, &id, ErrorCode::EventBusPermissionFailed).await;
    let said = said(&env, &id).await;
    let statement = format!("\"Sid\":\"panda-{}\"", env.sandbox.user_account_id());
    assert!(said.contains("PANDA_BUS_POLICY=managed") && said.contains(&statement), "{said}");
    assert!(env.sandbox.bus_statements().is_empty());

    let (services, _) = clients(&env).await;
    let (bus, account) = (&services.aws.controller().bus, env.sandbox.user_account_id());
    bus.allow_account("panda", "theirs", account).await.unwrap();
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    assert_eq!(env.sandbox.all_effects().permissions.keys().collect::<Vec<_>>(), ["theirs"]);
    replica.stop().await;
}

#[tokio::test]
async fn bus_policy__organization_permitted_once() {
    let env = Environment::start().await;
    let organization = env.sandbox.organization();
    let flag = format!("--bus-organization={organization}");
    let replica = Replica::start(&env, &["--bus-policy=organization", &flag]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let statements = env.sandbox.bus_statements();
    assert_eq!(statements.len(), 1);
    assert_eq!(statements[0]["Condition"], json!({"StringEquals": {"aws:PrincipalOrgID": organization}}));
    let other = env.another_repository(crate::support::environment::tiny()).await;
    let id = deploy(&other, "main").await;
    status(&other, &id, &["DEPLOYMENT_READY"]).await;
    assert_eq!(env.sandbox.all_effects().permissions.values().copied().collect::<Vec<_>>(), [1]);
    replica.stop().await;
}

/// A statement of others for the configured organization counts; one for another organization does not.
#[tokio::test]
async fn bus_policy__statement_for_organization_counts() {
    let env = Environment::start().await;
    let (services, _) = clients(&env).await;
    let bus = &services.aws.controller().bus;
    bus.allow_organization("panda", "other-organization", "o-other123456").await.unwrap();
    let flag = format!("--bus-organization={}", env.sandbox.organization());
    let replica = Replica::start(&env, &[&flag]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let own = format!("panda-{}", env.sandbox.user_account_id());
    assert!(env.sandbox.all_effects().permissions.contains_key(&own), "the account is permitted by its own statement");

    bus.remove_statement("panda", &own).await.unwrap();
    bus.allow_organization("panda", "organization", env.sandbox.organization()).await.unwrap();
    let other = env.another_repository(crate::support::environment::tiny()).await;
    let id = deploy(&other, "main").await;
    status(&other, &id, &["DEPLOYMENT_READY"]).await;
    assert_eq!(
        env.sandbox.all_effects().permissions.get(&own),
        Some(&1),
        "nothing is added beside the organization's statement"
    );
    replica.stop().await;
}

#[tokio::test]
async fn bus_policy__full_policy_names_remedy() {
    let env = Environment::start().await;
    let (services, _) = clients(&env).await;
    let bus = &services.aws.controller().bus;
    let mut accounts = 0_u64;
    let error = loop {
        let account = format!("{:012}", 100_000_000_000 + accounts);
        match bus.allow_account("panda", &format!("panda-{account}"), &account).await {
            Ok(()) => accounts += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, panda::clients::ErrorKind::LimitExceeded, "{error}");
    assert!((40..60).contains(&accounts), "{accounts}");
    let failed = fails(&env, &[], "main", ErrorCode::EventBusPermissionFailed).await;
    let said = said(&env, &failed.id).await;
    assert!(said.contains("PolicyLengthExceededException") && said.contains("PANDA_BUS_POLICY=organization"), "{said}");
}

#[tokio::test]
async fn event_rule__used_up_quota_names_remedy() {
    let env = Environment::start().await;
    let (_, user) = clients(&env).await;
    for number in 0..300 {
        user.rules.put_rule(&format!("rule-{number}"), &push_event_pattern("other"), "theirs").await.unwrap();
    }
    let (account, region) = (env.sandbox.user_account_id(), env.sandbox.region());
    assert_eq!(user.rules.list(account, region).await.unwrap().len(), 300, "three pages");
    let failed = fails(&env, &[], "main", ErrorCode::EventRuleFailed).await;
    let said = said(&env, &failed.id).await;
    assert!(said.contains("LimitExceededException") && said.contains("raise the quota"), "{said}");
}

/// Counting the rules is optional.
#[tokio::test]
async fn event_rule__created_without_permission_to_list_rules() {
    let env = Environment::start().await;
    let denied = CallFault { deny: true, ..CallFault::default() };
    env.sandbox.faults().set(Faults { calls: [("events:ListRules".to_owned(), denied)].into(), ..Faults::default() });
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}
