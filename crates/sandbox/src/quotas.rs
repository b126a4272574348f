//! Token buckets of the API calls, as AWS throttles them: one per account and call.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Size and refill rate of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BucketSize {
    /// Number of calls that a full bucket admits.
    pub burst: f64,
    /// Calls per second that are refilled.
    pub per_second: f64,
}

/// The quotas that AWS publishes for most regions, for [`super::Faults::quotas`].
pub fn aws_quotas() -> BTreeMap<String, BucketSize> {
    let published = [
        ("states:DescribeExecution", 250.0, 10.0),
        ("states:GetExecutionHistory", 400.0, 20.0),
        ("states:StopExecution", 500.0, 25.0),
        ("states:ListExecutions", 100.0, 2.0),
        ("ecr:GetAuthorizationToken", 500.0, 500.0),
        ("ecr:PutImage", 10.0, 10.0),
        ("events:DeleteRule", 50.0, 50.0),
        ("events:DescribeEventBus", 50.0, 50.0),
        ("events:DescribeRule", 50.0, 50.0),
        ("events:ListRules", 50.0, 50.0),
        ("events:ListTargetsByRule", 50.0, 50.0),
        ("events:PutPermission", 50.0, 50.0),
        ("events:PutRule", 50.0, 50.0),
        ("events:PutTargets", 50.0, 50.0),
        ("events:RemovePermission", 50.0, 50.0),
        ("events:RemoveTargets", 50.0, 50.0),
    ];
    published.map(|(call, burst, per_second)| (call.to_owned(), BucketSize { burst, per_second })).into()
}

/// Levels of the buckets.
#[derive(Default)]
pub(super) struct Quotas {
    /// Tokens, and when they were counted, by account and call.
    levels: Mutex<HashMap<(String, String), (f64, Instant)>>,
}

impl Quotas {
    /// Takes a token of the call's bucket. Returns false when AWS would throttle the call.
    pub(super) fn admit(&self, account: &str, call: &str, size: BucketSize, now: Instant) -> bool {
        let mut levels = self.levels.lock();
        let (tokens, counted) = levels.entry((account.to_owned(), call.to_owned())).or_insert((size.burst, now));
        let refilled = size.per_second * now.saturating_duration_since(*counted).as_secs_f64();
        *tokens = (*tokens + refilled).min(size.burst);
        *counted = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn admits_the_burst_and_then_the_refill() {
        let (quotas, start) = (Quotas::default(), Instant::now());
        let size = BucketSize { burst: 3.0, per_second: 2.0 };
        let admitted = |account: &str, after: u64| {
            let now = start + Duration::from_millis(after);
            (0..10).filter(|_| quotas.admit(account, "states:GetExecutionHistory", size, now)).count()
        };
        assert_eq!(admitted("1", 0), 3);
        assert_eq!(admitted("2", 0), 3, "of another account");
        assert_eq!(admitted("1", 1_000), 2);
        assert_eq!(admitted("1", 60_000), 3);
    }
}
