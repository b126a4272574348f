//! Fault injection: settings through [`super::Sandbox::faults`] or over HTTP as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// All injected faults; the default injects none.
///
/// Maps by repository take the ECR repository's name, or `*` for every repository without a separate entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Faults {
    /// Faults by call, in IAM's spelling (`states:GetExecutionHistory`, `events:PutRule`, `codedeploy:ContinueDeployment`).
    pub calls: BTreeMap<String, CallFault>,
    /// The next n `PutTargets` answer 200 with every entry failed, and do nothing.
    pub put_targets_failures: u32,
    /// `PutTargets` answers `AccessDeniedException` for a bus whose policy does not permit the caller's account, as reports say
    /// that AWS does for buses of other accounts; otherwise only the event itself is stopped there.
    pub refuse_unpermitted_targets: bool,
    /// Fault of the secret with the execution's ARN.
    pub secret: SecretFault,
    /// Delay between the execution's start and the write of the secret, in milliseconds.
    pub secret_delay_ms: u64,
    /// Delay until history events become visible, in milliseconds.
    pub history_lag_ms: u64,
    /// Upper limit of the page size of the history.
    pub history_page: Option<usize>,
    /// Histories that replace those of the executions, by repository: events as `GetExecutionHistory` returns them. `{codeDeployDeploymentId}`
    /// in a text stands for the repository's newest `CodeDeploy` deployment, for which the events that name it wait.
    pub histories: BTreeMap<String, Vec<serde_json::Value>>,
    /// Early or missing end of executions, by repository.
    pub executions: BTreeMap<String, ExecutionFault>,
    /// Replacement of the traffic shift, by repository.
    pub shifts: BTreeMap<String, ShiftFault>,
    /// CodeDeploy deployments that have not ended are shown as Queued, and calls about their targets answer `DeploymentNotStartedException`.
    pub code_deploy_queued: bool,
    /// Deployment configuration of CodeDeploy deployments; `CodeDeployDefault.ECSAllAtOnce` when absent. Only shown: the shift takes its usual time.
    pub code_deploy_configuration: Option<CanaryConfiguration>,
    /// Id that `RegisterTaskAndDeploy` and `CheckDeployment` report instead of CodeDeploy's.
    pub reported_deployment_id: Option<String>,
    /// Lambda payloads in task outputs are JSON strings instead of objects.
    pub payload_as_text: bool,
    /// Additional times that `CheckDeployment` is entered and left while it waits for approval.
    pub check_again: u32,
}

const SERVICES: [&str; 6] = ["sts", "events", "ecr", "secretsmanager", "states", "codedeploy"];
const STATES: [&str; 4] = ["EnsureInfra", "RegisterTaskAndDeploy", "CheckDeployment", "AwaitTrafficShift"];

impl Faults {
    /// Describes the first unknown call or state in the settings, if any.
    pub(super) fn flaw(&self) -> Option<String> {
        let known = |call: &str| {
            call.split_once(':').is_some_and(|(service, name)| SERVICES.contains(&service) && !name.is_empty())
        };
        let call = self.calls.keys().find(|call| !known(call));
        let state = self.executions.values().map(|fault| &fault.state).find(|state| !STATES.contains(&state.as_str()));
        call.map(|call| {
            format!("calls: {call} is not a call; write service:Name as in IAM, with one of the services {SERVICES:?}")
        })
        .or_else(|| state.map(|state| format!("executions: {state} is not a state; the states are {STATES:?}")))
    }
}

/// Faults of one call. Errors replace the effect; [`CallFault::lose_reply`] comes after it.
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
    pub refuse: Option<InjectedError>,
}

/// An error with which calls are answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InjectedError {
    /// AWS's error code, such as `DeploymentIsNotInReadyStateException`.
    pub code: String,
    /// AWS's message for the error.
    pub message: String,
    /// Number of calls that are still to be rejected; all when absent.
    #[serde(default)]
    pub times: Option<u32>,
}

/// A deployment configuration that shifts the traffic in two parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CanaryConfiguration {
    /// Name of the configuration.
    pub name: String,
    /// Minutes between the two parts.
    pub interval_minutes: u32,
}

/// Fault of the secret with the execution's ARN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecretFault {
    /// The pipeline writes the ARN into the secret.
    #[default]
    Written,
    /// The pipeline does not write it: the secret stays absent, or keeps the previous execution's ARN.
    NotWritten,
    /// The pipeline writes a text that is no ARN.
    Malformed,
}

/// An early or missing end of an execution at one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecutionFault {
    /// `EnsureInfra`, `RegisterTaskAndDeploy`, `CheckDeployment` or `AwaitTrafficShift`.
    pub state: String,
    /// Fault that occurs once the task of the state has started.
    pub outcome: Outcome,
}

/// The fault of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Outcome {
    /// History events `TaskFailed`, then `ExecutionFailed`.
    Fail {
        /// Name of the error, as in the history event.
        error: String,
        /// Cause of the error, as in the history event.
        cause: String,
    },
    /// History events `TaskFailed`, a Catch (so `TaskStateExited`), a Fail state, `ExecutionFailed`.
    Caught {
        /// Name of the error, as in the history event.
        error: String,
        /// Cause of the error, as in the history event.
        cause: String,
    },
    /// The history event `ExecutionTimedOut`.
    TimeOut,
    /// The history event `ExecutionAborted`.
    Abort {
        /// Name of the error, as in the history event.
        error: String,
        /// Cause of the error, as in the history event.
        cause: String,
    },
    /// The task continues until this fault is removed.
    Stuck,
}

/// Replacement of the traffic shift after `ContinueDeployment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ShiftFault {
    /// `AllowTraffic` fails, and the deployment with it; blue keeps the traffic.
    Fail {
        /// `CodeDeploy`'s error code, such as `HEALTH_CONSTRAINTS`.
        code: String,
        /// `CodeDeploy`'s message for the error.
        message: String,
    },
    /// The deployment is stopped before the traffic moves.
    Stop,
    /// `AllowTraffic` continues until this fault is removed.
    Stuck,
}

/// The faults of one sandbox; clones share them.
#[derive(Clone, Debug)]
pub struct FaultsHandle(watch::Sender<Faults>);

impl FaultsHandle {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Faults::default()))
    }

    /// The present settings; counters count down as they are used.
    pub fn get(&self) -> Faults {
        self.0.borrow().clone()
    }

    /// Replaces all settings. Logs unknown names, which would never take effect.
    pub fn set(&self, faults: Faults) {
        self.update(|now| *now = faults);
    }

    /// Changes some settings, and logs unknown names.
    pub fn update(&self, change: impl FnOnce(&mut Faults)) {
        self.0.send_modify(change);
        if let Some(flaw) = self.0.borrow().flaw() {
            tracing::warn!(flaw, "sandbox faults");
        }
    }

    /// Removes all faults and resets all counters.
    pub fn clear(&self) {
        self.set(Faults::default());
    }

    /// Decrements a counter. Returns false when it was zero or absent.
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
        // Cannot fail: `self` owns the sender.
        let _ = self.0.subscribe().wait_for(wanted).await;
    }
}

/// The entry for `repository`, or else the one for `*`.
pub(super) fn of_repository<'a, T>(entries: &'a BTreeMap<String, T>, repository: &str) -> Option<&'a T> {
    entries.get(repository).or_else(|| entries.get("*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_reach_zero() {
        let faults = FaultsHandle::new();
        faults.update(|f| f.put_targets_failures = 2);
        let used = (0..4).filter(|_| faults.take(|f| Some(&mut f.put_targets_failures))).count();
        assert_eq!(used, 2);
    }

    #[test]
    fn rejects_unknown_settings() {
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
