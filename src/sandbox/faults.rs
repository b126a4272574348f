//! What is to go wrong, as settings: through [`super::Sandbox::faults`] or over HTTP as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Everything that can be made to go wrong; the default is that nothing does.
///
/// Maps by repository take the ECR repository's name, or `*` for every one that has no entry of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Faults {
    /// By call, in IAM's spelling (`states:GetExecutionHistory`, `events:PutRule`, `codedeploy:ContinueDeployment`).
    pub calls: BTreeMap<String, CallFault>,
    /// The next n `PutTargets` answer 200 with every entry failed, and do nothing.
    pub put_targets_failures: u32,
    /// `PutTargets` answers `AccessDeniedException` for a bus whose policy does not permit the caller's account, as reports say
    /// that AWS does for buses of other accounts; otherwise only the event itself is stopped there.
    pub refuse_unpermitted_targets: bool,
    /// What becomes of the execution's ARN.
    pub secret: SecretFault,
    /// How long the secret is written after the execution's start, in milliseconds.
    pub secret_delay_ms: u64,
    /// History events become visible this much later, in milliseconds.
    pub history_lag_ms: u64,
    /// No page of the history is longer than this, whatever is asked for.
    pub history_page: Option<usize>,
    /// By repository: how an execution ends early, or does not end.
    pub executions: BTreeMap<String, ExecutionFault>,
    /// By repository: what happens instead of the traffic shift.
    pub shifts: BTreeMap<String, ShiftFault>,
    /// Lambda payloads in task outputs are JSON strings instead of objects.
    pub payload_as_text: bool,
    /// How many more times `CheckDeployment` is entered and left while it waits for approval.
    pub check_again: u32,
}

const SERVICES: [&str; 6] = ["sts", "events", "ecr", "secretsmanager", "states", "codedeploy"];
const STATES: [&str; 4] = ["EnsureInfra", "RegisterTaskAndDeploy", "CheckDeployment", "AwaitTrafficShift"];

impl Faults {
    /// The name of a call or a state that no sandbox has, if there is one.
    pub(super) fn flaw(&self) -> Option<String> {
        let known = |call: &str| {
            call.split_once(':').is_some_and(|(service, name)| SERVICES.contains(&service) && !name.is_empty())
        };
        let call = self.calls.keys().find(|call| !known(call));
        let state = self.executions.values().map(|fault| &fault.state).find(|state| !STATES.contains(&state.as_str()));
        call.map(|call| {
            format!("calls: {call} is no call; write it as IAM does, service:Name, with one of {SERVICES:?}")
        })
        .or_else(|| state.map(|state| format!("executions: {state} is no state; there are {STATES:?}")))
    }
}

/// What goes wrong with one call. Refusals come before the effect, [`CallFault::lose_reply`] after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct CallFault {
    /// The next n calls answer `ThrottlingException`.
    pub throttle: u32,
    /// The next n calls answer 500.
    pub fail: u32,
    /// The next n calls take effect, and then the connection closes without an answer.
    pub lose_reply: u32,
    /// Every call answers `AccessDenied`.
    pub deny: bool,
    /// Calls answer this error.
    pub refuse: Option<Refusal>,
}

/// An error to answer with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refusal {
    /// AWS's error code, such as `DeploymentIsNotInReadyStateException`.
    pub code: String,
    /// The message beside it.
    pub message: String,
    /// How many calls are still to be refused; every one when absent.
    #[serde(default)]
    pub times: Option<u32>,
}

/// What becomes of the execution's ARN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecretFault {
    /// It is written into the secret.
    #[default]
    Written,
    /// It is not: the secret stays absent, or keeps the previous execution's ARN.
    NotWritten,
}

/// At which state an execution leaves the path, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecutionFault {
    /// `EnsureInfra`, `RegisterTaskAndDeploy`, `CheckDeployment` or `AwaitTrafficShift`.
    pub state: String,
    /// What happens there, once its task has started.
    pub outcome: Outcome,
}

/// How an execution leaves the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Outcome {
    /// `TaskFailed`, then `ExecutionFailed`.
    Fail {
        /// The error's name.
        error: String,
        /// Its cause.
        cause: String,
    },
    /// `TaskFailed`, a Catch (so `TaskStateExited`), a Fail state, `ExecutionFailed`.
    Caught {
        /// The error's name.
        error: String,
        /// Its cause.
        cause: String,
    },
    /// `ExecutionTimedOut`.
    TimeOut,
    /// `ExecutionAborted`.
    Abort {
        /// The error's name.
        error: String,
        /// Its cause.
        cause: String,
    },
    /// The task goes on until this fault is taken back.
    Stuck,
}

/// What happens instead of the traffic shift after `ContinueDeployment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ShiftFault {
    /// `AllowTraffic` fails, and the deployment with it; blue keeps the traffic.
    Fail {
        /// `CodeDeploy`'s error code, such as `HEALTH_CONSTRAINTS`.
        code: String,
        /// The message beside it.
        message: String,
    },
    /// The deployment is stopped before the traffic moves.
    Stop,
    /// `AllowTraffic` goes on until this fault is taken back.
    Stuck,
}

/// The settings of one sandbox; clones are the same settings.
#[derive(Clone, Debug)]
pub struct FaultsHandle(watch::Sender<Faults>);

impl FaultsHandle {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Faults::default()))
    }

    /// The settings as they are now; counters count down as they are used.
    pub fn get(&self) -> Faults {
        self.0.borrow().clone()
    }

    /// Replaces all settings. A name that nothing has is logged: it would be waited for in vain.
    pub fn set(&self, faults: Faults) {
        self.update(|now| *now = faults);
    }

    /// Changes some settings.
    pub fn update(&self, change: impl FnOnce(&mut Faults)) {
        self.0.send_modify(change);
        if let Some(flaw) = self.0.borrow().flaw() {
            tracing::warn!(flaw, "sandbox faults");
        }
    }

    /// Nothing goes wrong any more.
    pub fn clear(&self) {
        self.set(Faults::default());
    }

    /// Uses one of a counter's remaining times, if there are any.
    pub(super) fn take(&self, counter: impl FnOnce(&mut Faults) -> Option<&mut u32>) -> bool {
        self.0.send_if_modified(|faults| match counter(faults) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        })
    }

    /// Waits until the settings satisfy `wanted`.
    pub(super) async fn wait_until(&self, wanted: impl FnMut(&Faults) -> bool) {
        // The sender lives in self, so waiting cannot end early.
        let _ = self.0.subscribe().wait_for(wanted).await;
    }
}

/// The entry for `repository`, or the one for all.
pub(super) fn of_repository<'a, T>(entries: &'a BTreeMap<String, T>, repository: &str) -> Option<&'a T> {
    entries.get(repository).or_else(|| entries.get("*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_count_down_and_end() {
        let faults = FaultsHandle::new();
        faults.update(|f| f.put_targets_failures = 2);
        let used = (0..4).filter(|_| faults.take(|f| Some(&mut f.put_targets_failures))).count();
        assert_eq!(used, 2);
    }

    #[test]
    fn a_misspelt_setting_is_refused_not_ignored() {
        assert!(serde_json::from_str::<Faults>(r#"{"historyLag": 1}"#).is_err());
        let faults: Faults = serde_json::from_str(
            r#"{"executions": {"*": {"state": "EnsureInfra", "outcome": {"fail": {"error": "E", "cause": "c"}}}}, "shifts": {"r": "stop"}}"#,
        )
        .unwrap();
        assert_eq!(of_repository(&faults.shifts, "r"), Some(&ShiftFault::Stop));
        assert_eq!(of_repository(&faults.shifts, "other"), None);
        assert!(of_repository(&faults.executions, "any").is_some());
    }
}
