//! What is asked of AWS.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Seconds: a fast answer, the usual, slow, and the time limit.
const BUCKETS: [f64; 8] = [0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0];

/// The calls that are made, so that each has its series from the start. The SDK takes roles (sts:AssumeRole) by a client of its own, which
/// nobody can look into.
const CALLS: [&str; 25] = [
    "codedeploy:BatchGetDeploymentTargets",
    "codedeploy:ContinueDeployment",
    "codedeploy:GetDeployment",
    "codedeploy:ListDeploymentTargets",
    "codedeploy:StopDeployment",
    "ecr:BatchGetImage",
    "ecr:CreateRepository",
    "ecr:DescribeImages",
    "ecr:DescribeRepositories",
    "ecr:GetAuthorizationToken",
    "ecr:ListTagsForResource",
    "ecr:PutImage",
    "ecr:PutLifecyclePolicy",
    "events:DescribeEventBus",
    "events:PutPermission",
    "events:PutRule",
    "events:PutTargets",
    "kms:Decrypt",
    "kms:Encrypt",
    "secretsmanager:GetSecretValue",
    "states:DescribeExecution",
    "states:GetExecutionHistory",
    "states:StopExecution",
    "sts:AssumeRole",
    "sts:GetCallerIdentity",
];

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// It was done.
    Done,
    /// Too many of them.
    Throttled,
    /// Nobody answered, or the answer was a fault of theirs.
    Unavailable,
    /// It was answered with an error of ours, or with one that is an answer too (there is none, it is there already).
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    call: String,
}

/// Requests to AWS, by call: cheap to clone.
#[derive(Clone, Debug)]
pub struct AwsCalls {
    requests: Family<Request, Counter>,
    seconds: Family<Call, Histogram>,
}

impl Default for AwsCalls {
    fn default() -> Self {
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let calls = Self { requests: Family::default(), seconds };
        for call in CALLS {
            for outcome in [CallOutcome::Done, CallOutcome::Throttled, CallOutcome::Unavailable, CallOutcome::Refused] {
                drop(calls.requests.get_or_create(&Request { call: call.to_owned(), outcome }));
            }
            drop(calls.seconds.get_or_create(&Call { call: call.to_owned() }));
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
            "Requests to AWS, each try of a call counted, by what became of them: done, throttled, unavailable, refused",
            new.requests.clone(),
        );
        registry.register_with_unit(
            "aws_call",
            "How long calls to AWS took, their tries and the waits between them included",
            Unit::Seconds,
            new.seconds.clone(),
        );
        new
    }

    /// Records one try.
    pub fn tried(&self, call: &str, outcome: CallOutcome) {
        self.requests.get_or_create(&Request { call: call.to_owned(), outcome }).inc();
    }

    /// Records a call that has ended.
    pub fn ended(&self, call: &str, took: Duration) {
        self.seconds.get_or_create(&Call { call: call.to_owned() }).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// What the clients' source asks of AWS, as the SDK names it: `self.client.put_rule()` of `aws_sdk_eventbridge` is `events:PutRule`.
    fn called() -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clients/aws");
        let mut called = BTreeSet::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let Some((_, sdk)) = source.split_once("aws_sdk_") else { continue };
            let service = match sdk.split(|c: char| !c.is_ascii_lowercase()).next().unwrap() {
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
    fn the_calls_that_have_series_are_those_that_are_made() {
        pretty_assertions::assert_eq!(called(), CALLS.iter().map(|&call| call.to_owned()).collect());
    }
}
