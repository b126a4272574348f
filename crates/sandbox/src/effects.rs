//! Counts the effects of calls, to verify "exactly once".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All effects since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Effects {
    /// Effects by ECR repository.
    pub repositories: BTreeMap<String, RepositoryEffects>,
    /// Permission statements written, by statement id.
    pub permissions: BTreeMap<String, u32>,
    /// Calls received, by name in IAM's spelling.
    pub calls: BTreeMap<String, CallCount>,
    /// Pushes to repositories that were never created in ECR, by repository.
    pub unknown_pushes: BTreeMap<String, u32>,
}

/// Counters of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CallCount {
    /// Number of calls, failed ones included.
    pub received: u32,
    /// Number of calls that took effect and were not answered with an error.
    pub succeeded: u32,
    /// Number of calls that found no token in the bucket of their account (`Faults::quotas`).
    pub throttled: u32,
}

/// Changes that calls and pushes made in one repository, counted so that tests can require exactly one of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RepositoryEffects {
    /// `CreateRepository` calls that created it.
    pub created: u32,
    /// Rules put whose pattern names the repository, by rule.
    pub rules: BTreeMap<String, u32>,
    /// Targets put on those rules, by `rule/target id`.
    pub targets: BTreeMap<String, u32>,
    /// Manifest pushes that the registry reported, by digest; a repeat of the same push counts again.
    pub pushes: BTreeMap<String, u32>,
    /// Executions started, by digest.
    pub executions: BTreeMap<String, u32>,
    /// ARNs of these executions, oldest first.
    pub execution_arns: Vec<String>,
    /// Green containers started, by digest.
    pub greens: BTreeMap<String, u32>,
    /// `ContinueDeployment` calls that took effect, by `CodeDeploy` deployment.
    pub continued: BTreeMap<String, u32>,
    /// Times that production traffic moved, by `CodeDeploy` deployment.
    pub shifted: BTreeMap<String, u32>,
    /// `StopDeployment` calls that took effect, by `CodeDeploy` deployment.
    pub stopped: BTreeMap<String, u32>,
    /// `StopExecution` calls that took effect.
    pub executions_stopped: u32,
}

impl Effects {
    /// The counters of `repository`, created when absent.
    pub(super) fn of(&mut self, repository: &str) -> &mut RepositoryEffects {
        self.repositories.entry(repository.to_owned()).or_default()
    }
}

/// Increments the counter `key`.
pub(super) fn count(counters: &mut BTreeMap<String, u32>, key: &str) {
    *counters.entry(key.to_owned()).or_default() += 1;
}
