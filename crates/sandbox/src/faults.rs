//! Fault injection: settings through [`super::Sandbox::faults`] or over HTTP as JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::aws::service_deployment::RolloutStyle;
use super::planned::{PartialFailure, PlannedError};
use super::quotas::BucketSize;
use super::visibility::Visibility;

/// All injected faults; the default injects none.
///
/// Maps by repository take the ECR repository's name, or `*` for every repository without a separate entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate fault")]
pub struct Faults {
    /// Faults by call, in IAM's spelling (`states:GetExecutionHistory`, `events:PutRule`, `codedeploy:ContinueDeployment`). For `errors`, `ecr:*` stands
    /// for every call of a service and `*` for every call.
    pub calls: BTreeMap<String, CallFault>,
    /// Batch calls whose first entry fails, by call.
    pub partial: BTreeMap<String, PartialFailure>,
    /// Seed of all chance.
    pub seed: u64,
    /// Delay until reads show a change.
    pub visibility: Visibility,
    /// Additional deliveries of each push's event, one after the other, each of which starts an execution: EventBridge delivers at least once.
    pub extra_deliveries: u32,
    /// Lifetime of sessions that `AssumeRole` opens, in milliseconds; as requested when absent.
    pub session_ms: Option<u64>,
    /// Token buckets by call, for each account: calls without a token answer `ThrottlingException`. Without an entry, calls are not limited;
    /// [`super::aws_quotas`] has those of AWS.
    pub quotas: BTreeMap<String, BucketSize>,
    /// The next n `PutTargets` answer 200 with every entry failed, and do nothing.
    pub put_targets_failures: u32,
    /// `PutTargets` answers `AccessDeniedException` for a bus whose policy does not permit the caller's account, as reports say
    /// that AWS does for buses of other accounts; otherwise only the event itself is stopped there.
    pub refuse_unpermitted_targets: bool,
    /// A new tag of an image that is in the repository raises no push event. AWS documents the event for pushes only.
    pub silent_tags: bool,
    /// Fault of the secret with the execution's ARN.
    pub secret: SecretFault,
    /// Delay between the execution's start and the write of the secret, in milliseconds.
    pub secret_delay_ms: u64,
    /// Upper limit of the page size of the history.
    pub history_page: Option<usize>,
    /// Histories that replace those of the executions, by repository: events as `GetExecutionHistory` returns them. `{codeDeployDeploymentId}`
    /// in a text stands for the repository's newest `CodeDeploy` deployment, for which the events that name it wait.
    pub histories: BTreeMap<String, Vec<serde_json::Value>>,
    /// Early or missing end of executions, by repository.
    pub executions: BTreeMap<String, ExecutionFault>,
    /// What shifts the traffic of new deployments, by repository; CodeDeploy without an entry.
    pub rollouts: BTreeMap<String, RolloutStyle>,
    /// Alarms of CloudWatch, by name.
    pub alarms: BTreeMap<String, SandboxAlarm>,
    /// Replacement of the traffic shift, by repository.
    pub shifts: BTreeMap<String, ShiftFault>,
    /// Time for which new CodeDeploy deployments wait for `ContinueDeployment`, in milliseconds, instead of the timing's.
    pub ready_timeout_ms: Option<u64>,
    /// CodeDeploy deployments that have not ended are shown as Queued, and calls about their targets answer `DeploymentNotStartedException`.
    pub code_deploy_queued: bool,
    /// Deployment configuration of CodeDeploy deployments; `CodeDeployDefault.ECSAllAtOnce` when absent. Only shown: the shift takes its usual time.
    pub code_deploy_configuration: Option<CanaryConfiguration>,
    /// Id that `RegisterTaskAndDeploy` and `CheckDeployment` report instead of CodeDeploy's.
    pub reported_deployment_id: Option<String>,
    /// Repositories whose pipeline reports no id of the rollout; `*` stands for all.
    pub unreported: BTreeSet<String>,
    /// Value of `greenHealthCheck` that `RegisterTaskAndDeploy` reports; the member is left out when absent.
    pub green_health_check: Option<serde_json::Value>,
    /// Lambda payloads in task outputs are JSON strings instead of objects.
    pub payload_as_text: bool,
    /// Additional times that `CheckDeployment` is entered and left while it waits for approval.
    pub check_again: u32,
}

const SERVICES: [&str; 10] = [
    "sts",
    "iam",
    "events",
    "ecr",
    "ecs",
    "secretsmanager",
    "states",
    "codedeploy",
    "elasticloadbalancing",
    "cloudwatch",
];
const ALARM_STATES: [&str; 3] = ["OK", "ALARM", "INSUFFICIENT_DATA"];
const STATES: [&str; 4] = ["EnsureInfra", "RegisterTaskAndDeploy", "CheckDeployment", "AwaitTrafficShift"];

impl Faults {
    /// Describes the first unknown call or state in the settings, if any.
    pub(super) fn flaw(&self) -> Option<String> {
        let known = |call: &str| {
            call == "*"
                || call.split_once(':').is_some_and(|(service, name)| SERVICES.contains(&service) && !name.is_empty())
        };
        let errors = self.calls.iter().find_map(|(call, fault)| {
            fault.errors.iter().find_map(PlannedError::flaw).map(|flaw| format!("calls: {call}: {flaw}"))
        });
        let partial = self.partial.keys().find_map(|call| PartialFailure::flaw(call));
        let call = self.calls.keys().chain(self.quotas.keys()).find(|call| !known(call));
        let state = self.executions.values().map(|fault| &fault.state).find(|state| !STATES.contains(&state.as_str()));
        call.map(|call| {
            format!("calls: {call} is not a call; write service:Name as in IAM, with one of the services {SERVICES:?}")
        })
        .or(errors)
        .or_else(|| {
            let alarm = self.alarms.values().find(|alarm| !ALARM_STATES.contains(&alarm.state.as_str()));
            alarm.map(|alarm| format!("alarms: {} is not a state; the states are {ALARM_STATES:?}", alarm.state))
        })
        .or(partial)
        .or_else(|| state.map(|state| format!("executions: {state} is not a state; the states are {STATES:?}")))
    }
}

/// An alarm of CloudWatch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SandboxAlarm {
    /// OK, ALARM or `INSUFFICIENT_DATA`.
    pub state: String,
    /// Reason of the state.
    #[serde(default)]
    pub reason: String,
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
    /// Errors of some calls; the first that a call meets applies.
    pub errors: Vec<PlannedError>,
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
    /// The traffic moves, and blue is not terminated until this fault is removed or replaced.
    HoldBlue,
    /// As `HoldBlue`, and the hook of `AfterAllowTraffic` runs meanwhile. When this fault is removed or replaced by `HoldBlue`, the deployment proceeds;
    /// replaced by `FailHook`, the hook fails, and CodeDeploy takes the traffic back.
    HoldHook,
    /// The hook of `AfterAllowTraffic` fails, and CodeDeploy takes the traffic back.
    FailHook,
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

    /// Reads from the present settings, without copying them.
    pub(super) fn look<T>(&self, read: impl FnOnce(&Faults) -> T) -> T {
        read(&self.0.borrow())
    }

    /// Counts a call under `key` (a call, `ecr:*` or `*`), and returns the planned error that it meets.
    pub(super) fn planned(&self, key: &str, mut roll: impl FnMut(usize) -> u64) -> Option<PlannedError> {
        if self.look(|faults| faults.calls.get(key).is_none_or(|fault| fault.errors.is_empty())) {
            return None;
        }
        let mut met = None;
        self.0.send_modify(|faults| {
            let errors = faults.calls.get_mut(key).into_iter().flat_map(|fault| fault.errors.iter_mut());
            met = errors.enumerate().find_map(|(index, error)| error.meets(roll(index)).then(|| error.clone()));
        });
        met
    }

    /// Counts a batch call, and returns the failure of its first entry.
    pub(super) fn partial(&self, call: &str) -> Option<PartialFailure> {
        let failure = self.look(|faults| faults.partial.get(call).cloned())?;
        let due = failure.times.is_none() || self.take(|faults| faults.partial.get_mut(call)?.times.as_mut());
        due.then_some(failure)
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
        faults.update(|f| f.check_again = 2);
        let used = (0..4).filter(|_| faults.take(|f| Some(&mut f.check_again))).count();
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
