//! Metrics of calls to AWS.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Histogram buckets in seconds, from a fast response to the time limit.
const BUCKETS: [f64; 8] = [0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0];

/// All calls that Panda makes, so that each has its series from the start. `sts:AssumeRole` is counted although the SDK assumes roles with an
/// internal client, whose requests cannot be observed.
const CALLS: [&str; 53] = [
    "cloudwatch:DescribeAlarms",
    "codedeploy:BatchGetDeploymentTargets",
    "codedeploy:BatchGetDeployments",
    "codedeploy:ContinueDeployment",
    "codedeploy:GetDeployment",
    "codedeploy:GetDeploymentConfig",
    "codedeploy:GetDeploymentGroup",
    "codedeploy:ListDeploymentTargets",
    "codedeploy:StopDeployment",
    "ecr:BatchGetImage",
    "ecr:CreateRepository",
    "ecr:DescribeImages",
    "ecr:DescribeRepositories",
    "ecr:GetAuthorizationToken",
    "ecr:GetLifecyclePolicy",
    "ecr:ListTagsForResource",
    "ecr:PutImage",
    "ecr:PutLifecyclePolicy",
    "ecs:ContinueServiceDeployment",
    "ecs:DescribeServiceDeployments",
    "ecs:DescribeServiceRevisions",
    "ecs:ListServiceDeployments",
    "ecs:StopServiceDeployment",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "events:DeleteRule",
    "events:DescribeEventBus",
    "events:DescribeRule",
    "events:ListRules",
    "events:ListTargetsByRule",
    "events:PutPermission",
    "events:PutRule",
    "events:PutTargets",
    "events:RemovePermission",
    "events:RemoveTargets",
    "iam:CreateRole",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:PutRolePolicy",
    "iam:SimulatePrincipalPolicy",
    "kms:Decrypt",
    "kms:Encrypt",
    "secretsmanager:GetSecretValue",
    "sqs:DeleteMessageBatch",
    "sqs:ReceiveMessage",
    "states:DescribeExecution",
    "states:DescribeStateMachine",
    "states:GetExecutionHistory",
    "states:StopExecution",
    "sts:AssumeRole",
    "sts:GetCallerIdentity",
];

/// Result of a request to AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// AWS answered with success.
    Done,
    /// AWS rejected the request because of its rate limit.
    Throttled,
    /// AWS did not respond, or responded with a server error.
    Unavailable,
    /// AWS responded with a client error. Some are expected results, such as "not found" or "already exists".
    Refused,
}

impl EncodeLabelValue for CallOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Done => "done",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    call: String,
    outcome: CallOutcome,
}

/// The two kinds of accounts that calls use, for metrics: accounts themselves are too many for a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountClass {
    /// The controller's own account.
    Controller,
    /// The account of any user.
    User,
}

impl EncodeLabelValue for AccountClass {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Controller => "controller",
            Self::User => "user",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Budget {
    call: String,
    account: AccountClass,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    call: String,
}

/// Metrics of calls to AWS, by call. Clones share the values.
#[derive(Clone, Debug)]
pub struct AwsCalls {
    requests: Family<Request, Counter>,
    seconds: Family<Call, Histogram>,
    waiting: Family<Budget, Gauge>,
    waited: Family<Budget, Counter<f64, AtomicU64>>,
    exceeded: Family<Budget, Counter>,
    policy_bytes: Gauge,
    most_rules: Gauge,
    /// Rules by account and region, as last listed.
    rules: Arc<Mutex<BTreeMap<(String, String), i64>>>,
}

impl Default for AwsCalls {
    fn default() -> Self {
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let calls = Self {
            requests: Family::default(),
            seconds,
            waiting: Family::default(),
            waited: Family::default(),
            exceeded: Family::default(),
            policy_bytes: Gauge::default(),
            most_rules: Gauge::default(),
            rules: Arc::default(),
        };
        for call in CALLS {
            for outcome in [CallOutcome::Done, CallOutcome::Throttled, CallOutcome::Unavailable, CallOutcome::Refused] {
                drop(calls.requests.get_or_create(&Request { call: call.to_owned(), outcome }));
            }
            drop(calls.seconds.get_or_create(&Call { call: call.to_owned() }));
            for account in [AccountClass::Controller, AccountClass::User] {
                let budget = Budget { call: call.to_owned(), account };
                drop(calls.waiting.get_or_create(&budget));
                drop(calls.waited.get_or_create(&budget));
                drop(calls.exceeded.get_or_create(&budget));
            }
        }
        calls
    }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl AwsCalls {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register(
            "aws_requests",
            "Requests to AWS, including each retry of a call, by outcome: done, throttled, unavailable, refused",
            new.requests.clone(),
        );
        registry.register_with_unit(
            "aws_call",
            "Duration of calls to AWS, including retries and the delays between them",
            Unit::Seconds,
            new.seconds.clone(),
        );
        registry.register(
            "aws_budget_waiting",
            "Calls to AWS that wait for a token of the account's budget",
            new.waiting.clone(),
        );
        registry.register_with_unit(
            "aws_budget_wait",
            "Time that calls to AWS waited for tokens of the account's budget",
            Unit::Seconds,
            new.waited.clone(),
        );
        registry.register(
            "aws_budget_exceeded",
            "Requests that AWS throttled although a token of the account's budget was free",
            new.exceeded.clone(),
        );
        registry.register(
            "event_bus_policy_bytes",
            "Length of the event bus's policy when it was last read; AWS accepts 10240",
            new.policy_bytes.clone(),
        );
        registry.register(
            "event_rules",
            "Rules on the default event bus of the account and region that has the most, when they were last listed; AWS accepts 300 by default",
            new.most_rules.clone(),
        );
        new
    }

    /// Records the length of the event bus's policy.
    pub fn policy_read(&self, bytes: usize) {
        self.policy_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Records the number of rules on an account's default event bus.
    pub fn rules_listed(&self, account: &str, region: &str, count: usize) {
        let mut rules = self.rules.lock();
        rules.insert((account.to_owned(), region.to_owned()), i64::try_from(count).unwrap_or(i64::MAX));
        self.most_rules.set(rules.values().copied().max().unwrap_or_default());
    }

    /// Counts one request, which may be a retry.
    pub fn tried(&self, call: &str, outcome: CallOutcome) {
        self.requests.get_or_create(&Request { call: call.to_owned(), outcome }).inc();
    }

    /// Records the duration of a finished call with all its retries.
    pub fn ended(&self, call: &str, took: Duration) {
        self.seconds.get_or_create(&Call { call: call.to_owned() }).observe(took.as_secs_f64());
    }

    /// Counts a call that waits for its budget, until the value is dropped.
    pub fn waits_for_budget(&self, call: &str, account: AccountClass) -> WaitingCall {
        let waiting = self.waiting.get_or_create(&Budget { call: call.to_owned(), account }).clone();
        waiting.inc();
        WaitingCall { waiting }
    }

    /// Records the time that a call waited for its budget.
    pub fn waited_for_budget(&self, call: &str, account: AccountClass, waited: Duration) {
        self.waited.get_or_create(&Budget { call: call.to_owned(), account }).inc_by(waited.as_secs_f64());
    }

    /// Counts a request that AWS throttled in spite of the budget.
    pub fn budget_exceeded(&self, call: &str, account: AccountClass) {
        self.exceeded.get_or_create(&Budget { call: call.to_owned(), account }).inc();
    }
}

/// A call that waits for its budget.
#[derive(Debug)]
pub struct WaitingCall {
    waiting: Gauge,
}

impl Drop for WaitingCall {
    fn drop(&mut self) {
        self.waiting.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::domain::aws_permissions::STATEMENTS;

    /// Collects the calls in the source of the clients: `self.client.put_rule()` of `aws_sdk_eventbridge` is `events:PutRule`.
    fn called() -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clients/aws");
        let mut called = BTreeSet::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let Ok(source) = std::fs::read_to_string(path) else { continue };
            let Some((_, sdk)) = source.split_once("aws_sdk_") else { continue };
            let service = match sdk.split(|c: char| !c.is_ascii_lowercase()).next().unwrap() {
                "elasticloadbalancingv" => "elasticloadbalancing",
                "eventbridge" => "events",
                "sfn" => "states",
                other => other,
            };
            for call in source.split("self.client.").skip(1) {
                let words = call.split_once("()").unwrap().0.split('_');
                let name: String = words.map(|word| word[..1].to_uppercase() + &word[1..]).collect();
                called.insert(format!("{service}:{name}"));
            }
        }
        called
    }

    #[test]
    fn most_rules_of_any_account_count() {
        let calls = AwsCalls::default();
        calls.rules_listed("1", "a", 240);
        calls.rules_listed("2", "a", 3);
        assert_eq!(calls.most_rules.get(), 240);
        calls.rules_listed("1", "a", 5);
        assert_eq!(calls.most_rules.get(), 5);
    }

    /// Action of a call: batches of messages are permitted by the action for one message.
    fn action(call: &str) -> String {
        call.strip_suffix("MessageBatch").map_or_else(|| call.to_owned(), |call| format!("{call}Message"))
    }

    /// Actions that the table of permissions needs although no SDK makes their calls: the registry's protocol, the tags of a new repository, and
    /// the role of a rule's target.
    const BESIDE_CALLS: [&str; 7] = [
        "ecr:BatchCheckLayerAvailability",
        "ecr:CompleteLayerUpload",
        "ecr:GetDownloadUrlForLayer",
        "ecr:InitiateLayerUpload",
        "ecr:TagResource",
        "ecr:UploadLayerPart",
        "iam:PassRole",
    ];

    #[test]
    fn permissions_are_those_of_the_calls() {
        let permitted: BTreeSet<String> =
            STATEMENTS.iter().flat_map(|statement| statement.actions).map(|&action| action.to_owned()).collect();
        // STS needs no permission to say who calls.
        let needed = CALLS.into_iter().filter(|call| *call != "sts:GetCallerIdentity").map(action);
        pretty_assertions::assert_eq!(permitted, needed.chain(BESIDE_CALLS.map(str::to_owned)).collect());
    }

    #[test]
    fn every_call_in_the_source_has_a_series() {
        pretty_assertions::assert_eq!(called(), CALLS.iter().map(|&call| call.to_owned()).collect());
    }
}
