//! Scenario files: how a sandbox starts, and which faults it has. TOML or JSON, with the same names.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::aws::trust;
use super::faults::Faults;
use super::options::Timing;
use super::place::Place;

/// A scenario; the default is a sandbox without faults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// Region of both accounts; it decides the partition (`aws`, `aws-cn`, `aws-us-gov`).
    pub region: Option<String>,
    /// Durations of the simulated steps.
    pub timing: ScenarioTiming,
    /// Roles of both accounts.
    pub roles: Vec<ScenarioRole>,
    /// Faults from the start on.
    pub faults: Faults,
}

/// Durations in milliseconds; absent ones keep their defaults. See [`Timing`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "the unit is part of each name in the file")]
pub struct ScenarioTiming {
    /// From the event's arrival on the controller's bus to the execution's start.
    pub execution_start_delay_ms: Option<u64>,
    /// Minimum duration of `EnsureInfra`.
    pub ensure_infra_ms: Option<u64>,
    /// Minimum duration of `RegisterTaskAndDeploy`.
    pub register_task_ms: Option<u64>,
    /// Observation of green in `CheckDeployment`.
    pub check_deployment_ms: Option<u64>,
    /// Limit for a container to accept connections.
    pub container_start_ms: Option<u64>,
    /// Each of `BeforeAllowTraffic`, `AllowTraffic` and `AfterAllowTraffic`.
    pub traffic_shift_ms: Option<u64>,
    /// From `AfterAllowTraffic` to the end of blue.
    pub termination_wait_ms: Option<u64>,
    /// Longest wait for `ContinueDeployment`.
    pub ready_timeout_ms: Option<u64>,
    /// From reading to writing a bus policy.
    pub permission_write_ms: Option<u64>,
}

/// A role, with its trust policy in IAM's format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScenarioRole {
    /// ARN of the role.
    pub arn: String,
    /// The policy, as JSON or as a table.
    pub trust_policy: Value,
}

/// The reason why a scenario cannot be used; it names the field.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The text is not TOML, or a field of it is unknown or has another type.
    #[error("scenario: {0}")]
    Toml(#[from] toml::de::Error),
    /// The same for JSON.
    #[error("scenario: {0}")]
    Json(#[from] serde_json::Error),
    /// A value is not valid.
    #[error("scenario: {0}")]
    Invalid(String),
}

impl Scenario {
    /// Reads a scenario: JSON if the text begins with a brace, else TOML.
    ///
    /// # Errors
    /// Names the field that is unknown or invalid.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self =
            if text.trim_start().starts_with('{') { serde_json::from_str(text)? } else { toml::from_str(text)? };
        scenario.place().map_err(ScenarioError::Invalid)?;
        let of_role =
            |role: &ScenarioRole| trust::flaw(&role.trust_policy).map(|flaw| format!("roles: {}: {flaw}", role.arn));
        let flaw = scenario.faults.flaw().map(|flaw| format!("faults.{flaw}"));
        match flaw.or_else(|| scenario.roles.iter().find_map(of_role)) {
            Some(flaw) => Err(ScenarioError::Invalid(flaw)),
            None => Ok(scenario),
        }
    }

    pub(super) fn place(&self) -> Result<Place, String> {
        self.region.as_deref().map_or_else(|| Ok(Place::default()), Place::in_region)
    }
}

impl ScenarioTiming {
    /// `timing` with the durations of the scenario.
    pub(super) fn over(&self, timing: &Timing) -> Timing {
        let or = |millis: Option<u64>, other| millis.map_or(other, Duration::from_millis);
        Timing {
            execution_start_delay: or(self.execution_start_delay_ms, timing.execution_start_delay),
            ensure_infra: or(self.ensure_infra_ms, timing.ensure_infra),
            register_task: or(self.register_task_ms, timing.register_task),
            check_deployment: or(self.check_deployment_ms, timing.check_deployment),
            container_start: or(self.container_start_ms, timing.container_start),
            traffic_shift: or(self.traffic_shift_ms, timing.traffic_shift),
            termination_wait: or(self.termination_wait_ms, timing.termination_wait),
            ready_timeout: or(self.ready_timeout_ms, timing.ready_timeout),
            permission_write: or(self.permission_write_ms, timing.permission_write),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = "region = \"cn-north-1\"\n[timing]\ntrafficShiftMs = 5\n[faults.visibility.rule]\ndelayMs = 300\n\
                    [[faults.calls.\"ecr:*\".errors]]\ncode = \"ThrottlingException\"\npercent = 5\n";
        let json = r#"{"region": "cn-north-1", "timing": {"trafficShiftMs": 5}, "faults": {"visibility": {"rule": {"delayMs": 300}},
            "calls": {"ecr:*": {"errors": [{"code": "ThrottlingException", "percent": 5}]}}}}"#;
        let scenario = Scenario::parse(toml).unwrap();
        assert_eq!(scenario, Scenario::parse(json).unwrap());
        assert_eq!(scenario.timing.over(&Timing::default()).traffic_shift, Duration::from_millis(5));
        assert_eq!(Scenario::parse("").unwrap(), Scenario::default());
    }

    #[test]
    fn rejects_invalid_fields_by_name() {
        for (text, named) in [
            ("regoin = \"us-east-1\"", "regoin"),
            ("region = \"mars-1\"", "mars-1"),
            ("[timing]\nshiftMs = 1", "shiftMs"),
            ("[faults]\nhistoryLag = 1", "historyLag"),
            ("[faults.visibility.rules]\ndelayMs = 1", "rules"),
            ("[faults.calls.\"sfn:X\"]\ndeny = true", "sfn:X"),
            ("[[faults.calls.\"ecr:*\".errors]]\nafter = 1", "loseReply"),
            ("[faults.partial.\"ecr:PutImage\"]\ncode = \"x\"", "ecr:PutImage"),
            ("[[roles]]\narn = \"arn:x\"\ntrustPolicy = {}", "arn:x"),
            ("{\"faults\": {\"seed\": -1}}", "-1"),
        ] {
            let error = Scenario::parse(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
