//! Quotas of AWS's API calls: what AWS publishes, and what an operator configures instead (docs/aws.md).
//!
//! AWS gives each account a token bucket per region and call: it holds `burst` tokens and is refilled at `per_second`. Some calls share one.

use std::str::FromStr;

/// Size and refill rate of a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ApiQuota {
    /// Number of calls that a full bucket admits.
    pub burst: f64,
    /// Number of calls per second that are refilled.
    pub per_second: f64,
}

/// The bucket of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// Name of the call, `states:GetExecutionHistory`, or of the calls that share the bucket, `sts:*`.
    pub name: String,
    /// Size and refill rate.
    pub quota: ApiQuota,
}

/// Part of each quota that Panda uses. The rest is for other callers of the account, and for the difference between two clocks.
const SHARE: f64 = 0.9;

/// Regions for which AWS publishes larger quotas of Step Functions.
const LARGE_REGIONS: [&str; 3] = ["us-east-1", "us-west-2", "eu-west-1"];

/// Quota of a call for which AWS publishes none: those of `CodeDeploy` and IAM, which AWS calls dynamic, of ECS's service deployments, and ECR's calls about repositories.
const UNPUBLISHED: ApiQuota = quota(100.0, 10.0);

/// Services whose calls may have a quota.
const SERVICES: [&str; 12] = [
    "cloudwatch",
    "codedeploy",
    "ecr",
    "ecs",
    "elasticloadbalancing",
    "events",
    "iam",
    "kms",
    "secretsmanager",
    "sqs",
    "states",
    "sts",
];

const fn quota(burst: f64, per_second: f64) -> ApiQuota {
    ApiQuota { burst, per_second }
}

/// Returns the bucket of `call` as AWS publishes it; none for calls without a limit.
fn published(call: &str, region: &str) -> Option<Bucket> {
    let large = LARGE_REGIONS.contains(&region);
    let (name, quota) = match call {
        "states:GetExecutionHistory" => (call, quota(400.0, 20.0)),
        "states:DescribeExecution" if large => (call, quota(300.0, 15.0)),
        "states:DescribeExecution" => (call, quota(250.0, 10.0)),
        "states:StopExecution" if large => (call, quota(1_000.0, 200.0)),
        "states:StopExecution" => (call, quota(500.0, 25.0)),
        "ecr:GetAuthorizationToken" => (call, quota(500.0, 500.0)),
        "cloudwatch:DescribeAlarms" => (call, quota(9.0, 9.0)),
        "ecr:BatchGetImage" => (call, quota(2_000.0, 2_000.0)),
        "ecr:PutImage" => (call, quota(10.0, 10.0)),
        "secretsmanager:GetSecretValue" => (call, quota(10_000.0, 10_000.0)),
        _ if call.starts_with("elasticloadbalancing:") => ("elasticloadbalancing:*", quota(40.0, 10.0)),
        _ if call.starts_with("events:") => (call, quota(50.0, 50.0)),
        _ if call.starts_with("sts:") => ("sts:*", quota(600.0, 600.0)),
        _ if call.starts_with("kms:") => ("kms:*", quota(10_000.0, 10_000.0)),
        // SQS has nearly no limit for standard queues.
        _ if call.starts_with("sqs:") => return None,
        _ => (call, UNPUBLISHED),
    };
    Some(Bucket { name: name.to_owned(), quota })
}

/// A configured quota: `CALL=BURST/PER_SECOND` or `CALL=unlimited`, where `CALL` is `service:Name`, `service:*` or `*`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaRule {
    calls: String,
    /// None for calls without a limit.
    quota: Option<ApiQuota>,
}

impl FromStr for QuotaRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "give CALL=BURST/PER_SECOND or CALL=unlimited, such as states:GetExecutionHistory=800/40 or codedeploy:*=unlimited";
        let (calls, value) = text.split_once('=').ok_or_else(|| form.to_owned())?;
        if !is_call(calls) {
            let services = SERVICES.join(", ");
            return Err(format!(
                "`{calls}` is no call: write service:Name, service:* or *, with one of the services {services}"
            ));
        }
        if value == "unlimited" {
            return Ok(Self { calls: calls.to_owned(), quota: None });
        }
        let (burst, per_second) = value.split_once('/').ok_or_else(|| form.to_owned())?;
        let burst = number(burst, 1.0).ok_or("the burst must be a number from 1 to 1000000")?;
        let per_second = number(per_second, 0.1).ok_or("the calls per second must be a number from 0.1 to 1000000")?;
        Ok(Self { calls: calls.to_owned(), quota: Some(quota(burst, per_second)) })
    }
}

fn is_call(text: &str) -> bool {
    let name = |name: &str| name == "*" || (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    text == "*" || text.split_once(':').is_some_and(|(service, call)| SERVICES.contains(&service) && name(call))
}

fn number(text: &str, least: f64) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    (least..=1_000_000.0).contains(&number).then_some(number)
}

/// The quotas of all calls: what is configured, or else what AWS publishes.
#[derive(Clone, Debug, Default)]
pub struct ApiQuotas {
    rules: Vec<QuotaRule>,
}

impl ApiQuotas {
    /// Quotas in which `rules` replace what AWS publishes. The rule with the longest name of a call decides, and of two equal ones the last.
    pub fn new(rules: Vec<QuotaRule>) -> Self {
        Self { rules }
    }

    /// Returns the bucket from which Panda takes tokens for `call`; none when it is unlimited.
    pub fn bucket(&self, call: &str, region: &str) -> Option<Bucket> {
        let covers = |rule: &&QuotaRule| {
            rule.calls == call || rule.calls.strip_suffix('*').is_some_and(|prefix| call.starts_with(prefix))
        };
        let rule = self.rules.iter().filter(covers).max_by_key(|rule| rule.calls.len());
        let published = published(call, region);
        let Bucket { name, quota } = match rule {
            None => published?,
            Some(QuotaRule { quota: None, .. }) => return None,
            Some(QuotaRule { calls, quota: Some(quota) }) => {
                // A rule for this call alone takes it out of a shared bucket.
                let shared = published.map(|bucket| bucket.name).filter(|_| calls != call);
                Bucket { name: shared.unwrap_or_else(|| call.to_owned()), quota: *quota }
            }
        };
        let usable = ApiQuota { burst: (quota.burst * SHARE).max(1.0), per_second: quota.per_second * SHARE };
        Some(Bucket { name, quota: usable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> ApiQuotas {
        ApiQuotas::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn bucket(quotas: &ApiQuotas, call: &str, region: &str) -> Option<(String, f64, f64)> {
        let bucket = quotas.bucket(call, region)?;
        Some((bucket.name, bucket.quota.burst, bucket.quota.per_second))
    }

    #[test]
    fn uses_nine_tenths_of_published_quotas() {
        let quotas = ApiQuotas::default();
        let of = |call: &str, region: &str| bucket(&quotas, call, region).unwrap();
        let history = "states:GetExecutionHistory";
        assert_eq!(of(history, "ap-northeast-2"), (history.to_owned(), 360.0, 18.0));
        let describe = "states:DescribeExecution";
        assert_eq!(of(describe, "us-east-1"), (describe.to_owned(), 270.0, 13.5));
        assert_eq!(of(describe, "ap-northeast-2"), (describe.to_owned(), 225.0, 9.0));
        assert_eq!(of("sts:AssumeRole", "us-east-1"), of("sts:GetCallerIdentity", "us-east-1"));
        let balancers = ("elasticloadbalancing:*".to_owned(), 36.0, 9.0);
        assert_eq!(of("elasticloadbalancing:DescribeRules", "us-east-1"), balancers);
        assert_eq!(of("codedeploy:GetDeployment", "us-east-1"), ("codedeploy:GetDeployment".to_owned(), 90.0, 9.0));
        assert_eq!(quotas.bucket("sqs:ReceiveMessage", "us-east-1"), None);
    }

    #[test]
    fn longest_rule_decides() {
        let quotas = rules(&["*=unlimited", "states:*=10/1", "states:StopExecution=20/2", "sts:AssumeRole=30/3"]);
        let of = |call: &str| bucket(&quotas, call, "us-east-1");
        assert_eq!(of("ecr:PutImage"), None);
        let history = "states:GetExecutionHistory";
        assert_eq!(of(history), Some((history.to_owned(), 9.0, 0.9)));
        assert_eq!(of("states:StopExecution"), Some(("states:StopExecution".to_owned(), 18.0, 1.8)));
        assert_eq!(of("sts:AssumeRole").unwrap().0, "sts:AssumeRole");
        assert_eq!(bucket(&rules(&["sts:*=10/1"]), "sts:AssumeRole", "us-east-1").unwrap().0, "sts:*");
    }

    #[test]
    fn rejects_what_is_no_rule() {
        for (text, remedy) in [
            ("states:GetExecutionHistory", "BURST/PER_SECOND"),
            ("states:GetExecutionHistory=400", "BURST/PER_SECOND"),
            ("GetExecutionHistory=400/20", "service:Name"),
            ("stats:GetExecutionHistory=400/20", "states"),
            ("states:=1/1", "service:Name"),
            ("states:*=0/20", "burst"),
            ("states:*=NaN/20", "burst"),
            ("states:*=10/0", "per second"),
            ("states:*=10/inf", "per second"),
        ] {
            let error = text.parse::<QuotaRule>().unwrap_err();
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }
}
