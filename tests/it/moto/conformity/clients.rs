//! Panda's own clients against both: their results, and the kind of error for each refusal.

use std::fmt::Debug;
use std::time::Duration;

use panda::clients::ClientError;
use panda::clients::aws::{BusDescription, ControllerAws, UserAws};
use panda::domain::connection::{AwsCredentials, AwsKeys};
use panda::domain::names::push_event_pattern;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::compare::Gap;
use super::{Pair, Side};
use crate::support::environment;

const EXECUTION: &str = "arn:aws:states:ap-northeast-2:123456789012:execution:panda-deployment:none";

fn keys(id: &str) -> AwsKeys {
    AwsKeys { access_key_id: id.to_owned(), secret_access_key: SecretString::from("unverified"), session_token: None }
}

async fn clients(side: &Side) -> (UserAws, ControllerAws) {
    let (endpoint, keys_of) = (Some(side.endpoint.clone()), keys(&side.controller));
    let aws = environment::aws(endpoint, Some(side.region), keys_of, Duration::from_secs(20), &[]).await;
    (aws.user("user", side.region, &AwsCredentials::Keys(keys(&side.user))), aws.controller().clone())
}

/// The part of a result that a caller can act on: the value, or the kind of error.
fn seen<T: Debug>(result: Result<T, ClientError>) -> Value {
    match result {
        Ok(value) => json!(format!("{value:?}")),
        Err(ClientError { kind, .. }) => json!(format!("{kind:?}")),
    }
}

macro_rules! transcript {
    ($($what:literal => $result:expr),+ $(,)?) => { vec![$(($what.to_owned(), seen($result))),+] };
}

#[tokio::test]
async fn conformity__ecr_client() {
    let ecr = async |side: &Side| {
        let ecr = clients(side).await.0.ecr;
        transcript! {
            "a repository that is not there" => ecr.find_repository("acme-shop").await,
            "an image where there is no repository" => ecr.find_image("acme-shop", "v1").await,
            "a new repository" => ecr.create_repository("acme-shop", &[("panda:source", "acme/shop")]).await,
            "the same once more" => ecr.create_repository("acme-shop", &[]).await,
            "the repository with its tags" => ecr.find_repository("acme-shop").await,
            "an image that is not there" => ecr.find_image("acme-shop", "v1").await,
            "another tag for an image that is not there" => ecr.tag_image("acme-shop", "v1", "v2").await,
            "a name that no repository can have" => ecr.create_repository("Acme--Shop", &[]).await,
            "who logs in" => ecr.login().await.map(|login| (login.username, login.endpoint)),
        }
    };
    Pair::start().await.agree(ecr, &[]).await;
}

#[tokio::test]
async fn conformity__rule_client() {
    let rules = async |side: &Side| {
        let rules = clients(side).await.0.rules;
        let role = Some("arn:aws:iam::210987654321:role/panda-events");
        let bus = "arn:aws:events:ap-northeast-2:123456789012:event-bus/panda";
        let pattern = push_event_pattern("acme-shop");
        transcript! {
            "a target for a rule that is not there" => rules.put_target("shop", "panda", bus, role).await,
            "a new rule" => rules.put_rule("shop", &pattern, "pushes").await,
            "the same once more" => rules.put_rule("shop", &pattern, "pushes").await,
            "a target" => rules.put_target("shop", "panda", bus, role).await,
            "the same target once more" => rules.put_target("shop", "panda", bus, role).await,
            "the rule" => rules.describe_rule("shop").await,
            "its targets" => rules.targets("shop").await,
            "a rule that is not there" => rules.describe_rule("none").await,
            "targets of a rule that is not there" => rules.targets("none").await,
            "a pattern that is no JSON" => rules.put_rule("other", "{oops", "broken").await,
            "a name that no rule can have" => rules.put_rule("a b", &pattern, "broken").await,
        }
    };
    let why = "moto accepts any name; AWS has ValidationException for names outside [.-_A-Za-z0-9]+";
    let docs = "https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html";
    Pair::start().await.agree(rules, &[Gap { at: "a name that no rule can have", why, docs }]).await;
}

#[tokio::test]
async fn conformity__bus_policy_client() {
    let bus = async |side: &Side| {
        let bus = clients(side).await.1.bus;
        // The length of the text depends on its white space.
        let policy = |seen: Result<BusDescription, ClientError>| seen.map(|bus| (bus.arn, bus.policy));
        transcript! {
            "a bus that is not there" => policy(bus.describe("elsewhere").await),
            "a bus without a policy" => policy(bus.describe("panda").await),
            "a permission" => bus.allow_account("panda", "panda-210987654321", "210987654321").await,
            "the policy with it" => policy(bus.describe("panda").await),
            "the same once more" => bus.allow_account("panda", "panda-210987654321", "210987654321").await,
            "the policy is the same" => policy(bus.describe("panda").await),
            "another account" => bus.allow_account("panda", "panda-111111111111", "111111111111").await,
            "both are in the policy" => policy(bus.describe("panda").await),
            "a permission on a bus that is not there" => bus.allow_account("elsewhere", "x", "111111111111").await,
            "a principal that is no account" => bus.allow_account("panda", "x", "somebody").await,
        }
    };
    Pair::start().await.agree(bus, &[]).await;
}

#[tokio::test]
async fn conformity__role_client() {
    const ROLE: &str = "arn:aws:iam::210987654321:role/deploy";
    let roles = async |side: &Side| {
        let (endpoint, keys_of) = (Some(side.endpoint.clone()), keys(&side.controller));
        let aws = environment::aws(endpoint, Some(side.region), keys_of, Duration::from_secs(20), &[]).await;
        let trust = async |id: &str| aws.role_trust(side.region, ROLE, &SecretString::from(id)).await;
        transcript! {
            "the right external id" => trust("right").await,
            "a wrong external id" => trust("wrong").await,
        }
    };
    let pair = Pair::start().await;
    pair.harness.sandbox.put_role_for(ROLE, "right");
    let why = "moto lets every caller assume every role, existing or not; AWS evaluates the trust policy";
    let docs = "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_common-scenarios_third-party.html";
    let gaps = ["the right external id", "a wrong external id"].map(|at| Gap { at, why, docs });
    pair.agree(roles, &gaps).await;
}

#[tokio::test]
async fn conformity__identity_and_missing_objects_client() {
    let the_rest = async |side: &Side| {
        let (user, controller) = clients(side).await;
        transcript! {
            "whose the user's key is" => user.sts.caller_identity().await.map(|identity| identity.account_id),
            "whose the controller's key is" => controller.sts.caller_identity().await.map(|identity| identity.account_id),
            "a secret that is not there" => controller.secrets.value("panda/none").await,
            "an execution that is not there" => controller.executions.describe(EXECUTION).await,
            "its history" => controller.executions.history_after(EXECUTION, 0).await,
            "stopping it" => controller.executions.stop(EXECUTION, "test").await,
            "an ARN that is none" => controller.executions.describe("execution").await,
            "a deployment that is not there" => user.codedeploy.deployment("d-ABCDEFGHI").await,
        }
    };
    Pair::start().await.agree(the_rest, &[]).await;
}

#[tokio::test]
async fn conformity__rule_role_client() {
    let roles = async |side: &Side| {
        let iam = clients(side).await.0.iam;
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sts:AssumeRole",
            "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:events:*:210987654321:rule/a b+c*"}},
        }]});
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "events:PutEvents", "Resource": "arn:aws:events:ap-northeast-2:123456789012:event-bus/panda"},
        ]});
        transcript! {
            "a role that is not there" => iam.trust_policy("panda-test").await,
            "a policy of a role that is not there" => iam.role_policy("panda-test", "events").await,
            "a policy for a role that is not there" => iam.put_role_policy("panda-test", "events", &policy).await,
            "a new role" => iam.create_role("panda-test", &trust).await,
            "the same once more" => iam.create_role("panda-test", &trust).await,
            "its trust policy" => iam.trust_policy("panda-test").await,
            "a policy that is not there" => iam.role_policy("panda-test", "events").await,
            "a policy" => iam.put_role_policy("panda-test", "events", &policy).await,
            "the policy is as it was put" => iam.role_policy("panda-test", "events").await,
        }
    };
    Pair::start().await.agree(roles, &[]).await;
}

#[tokio::test]
async fn conformity__removal_client() {
    let removal = async |side: &Side| {
        let (user, controller) = clients(side).await;
        let (rules, bus) = (user.rules, controller.bus);
        let role = Some("arn:aws:iam::210987654321:role/panda-events");
        let target = "arn:aws:events:ap-northeast-2:123456789012:event-bus/panda";
        transcript! {
            "no rules" => rules.list("210987654321", "ap-northeast-2").await,
            "a rule" => rules.put_rule("shop", &push_event_pattern("acme-shop"), "pushes").await,
            "a target" => rules.put_target("shop", "panda", target, role).await,
            "one rule" => rules.list("210987654321", "ap-northeast-2").await,
            "a rule with a target cannot be deleted" => rules.delete_rule("shop").await,
            "the target is removed" => rules.remove_target("shop", "panda").await,
            "the rule is deleted" => rules.delete_rule("shop").await,
            "a rule that is not there" => rules.delete_rule("shop").await,
            "a target of a rule that is not there" => rules.remove_target("shop", "panda").await,
            "a permission" => bus.allow_account("panda", "panda-210987654321", "210987654321").await,
            "it is removed" => bus.remove_statement("panda", "panda-210987654321").await,
            "a statement that is not there" => bus.remove_statement("panda", "panda-210987654321").await,
        }
    };
    Pair::start().await.agree(removal, &[]).await;
}
