//! Errors of some of the calls: from the n-th on, a number of times, or by chance.

use serde::{Deserialize, Serialize};

/// Calls whose answer has a result for each entry.
const BATCHES: [&str; 4] = [
    "events:PutTargets",
    "ecr:BatchGetImage",
    "codedeploy:BatchGetDeployments",
    "codedeploy:BatchGetDeploymentTargets",
];

/// An error for some of the calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedError {
    /// AWS's error code; it replaces the effect of the call.
    pub code: Option<String>,
    /// Message of the error.
    pub message: Option<String>,
    /// Status of the response; 400 when absent.
    pub status: Option<u16>,
    /// True in the place of a code: the call takes effect, and the connection closes without an answer.
    pub lose_reply: bool,
    /// Number of calls that pass first.
    pub after: u32,
    /// Number of calls with the error; all when absent.
    pub times: Option<u32>,
    /// Chance of the error for each call, in percent; 100 when absent.
    pub percent: Option<u8>,
}

impl PlannedError {
    /// Describes why the settings are invalid, if they are.
    pub(super) fn flaw(&self) -> Option<&'static str> {
        if self.code.is_some() == self.lose_reply {
            return Some("an entry of errors needs either code or loseReply");
        }
        if self.percent.is_some_and(|percent| percent > 100) {
            return Some("percent is at most 100");
        }
        let status = self.status.unwrap_or(400);
        (!(400..=599).contains(&status)).then_some("status is 400 to 599")
    }

    /// Counts a call. Returns true if it meets the error.
    pub(super) fn meets(&mut self, roll: u64) -> bool {
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        if self.times == Some(0) || roll % 100 >= u64::from(self.percent.unwrap_or(100)) {
            return false;
        }
        self.times = self.times.map(|left| left - 1);
        true
    }
}

/// A failure of the first entry of a batch call, whose other entries succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartialFailure {
    /// AWS's code for the entry, such as `ImageNotFound`. Calls that leave failed entries out ignore it.
    pub code: String,
    /// AWS's message for the entry.
    #[serde(default)]
    pub message: String,
    /// Number of calls with the failure; all when absent.
    #[serde(default)]
    pub times: Option<u32>,
}

impl PartialFailure {
    /// Describes why `call` cannot fail in part, if it cannot.
    pub(super) fn flaw(call: &str) -> Option<String> {
        (!BATCHES.contains(&call)).then(|| format!("partial: {call} has no entries; the calls are {BATCHES:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_begins_after_calls_and_ends_after_times() {
        let mut error = PlannedError { after: 2, times: Some(2), ..PlannedError::default() };
        let met: Vec<bool> = (0..6).map(|_| error.meets(99)).collect();
        assert_eq!(met, [false, false, true, true, false, false]);
        let mut rare = PlannedError { percent: Some(10), ..PlannedError::default() };
        assert!(rare.meets(109) && !rare.meets(110));
    }

    #[test]
    fn rejects_contradictions() {
        let valid = PlannedError { code: Some("ThrottlingException".to_owned()), ..PlannedError::default() };
        assert_eq!(valid.flaw(), None);
        assert!(PlannedError::default().flaw().is_some());
        assert!(PlannedError { lose_reply: true, ..valid.clone() }.flaw().is_some());
        assert!(PlannedError { percent: Some(101), ..valid.clone() }.flaw().is_some());
        assert!(PlannedError { status: Some(200), ..valid }.flaw().is_some());
    }
}
