//! `/api/v1/policies/{owner}/{repo}`: what the targets of a repository permit, in versions.

pub mod gate;
pub mod path;
pub mod set;
pub mod show;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::gate::PolicyGate;
use crate::db::policies::{PolicyTarget, PolicyVersion};
use crate::domain::message::message;
use crate::domain::policy::{Approvals, Policy, TimeWindow};
use crate::domain::validate;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::time;

/// The target of the repository; absent, all targets without a policy.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub struct TargetQuery {
    /// AWS account: twelve digits. Together with `region`.
    #[param(example = "123456789012")]
    pub account_id: Option<String>,
    /// AWS region. Together with `accountId`.
    #[param(example = "ap-northeast-2")]
    pub region: Option<String>,
}

impl TargetQuery {
    /// Returns what the request is about.
    pub(in crate::http) fn target(
        self,
        state: &ApiState,
        (owner, repo): (String, String),
    ) -> Result<PolicyTarget, ApiError> {
        let (account_id, region) = match (self.account_id, self.region) {
            (None, None) => (String::new(), String::new()),
            (Some(account_id), Some(region)) => {
                if account_id.len() != 12 || !account_id.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(ApiError::field("accountId", message!("rule.policy_account")));
                }
                validate::region(&region, &state.config.extra_regions)
                    .map_err(|rule| ApiError::field("region", rule))?;
                (account_id, region)
            }
            (Some(_), None) => return Err(ApiError::field("accountId", message!("rule.policy_place"))),
            (None, Some(_)) => return Err(ApiError::field("region", message!("rule.policy_place"))),
        };
        Ok(PolicyTarget { owner, repo, account_id, region })
    }
}

/// A recurring time in which starts or switches are permitted.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyWindow {
    /// Cron expression of the beginnings, as of schedules.
    #[schema(example = "0 9 * * MON-FRI")]
    pub cron: String,
    /// Time zone of the expression: a name of the IANA database; `UTC` when absent.
    #[serde(default = "utc")]
    #[schema(example = "Asia/Seoul")]
    pub time_zone: String,
    /// Length in minutes, up to a week.
    #[schema(example = 480, minimum = 1, maximum = 10080)]
    pub minutes: u32,
    /// Acts that are permitted in it: `starts`, `switches` or `both`, the default.
    #[serde(default = "both")]
    #[schema(example = "switches", pattern = "^(starts|switches|both)$")]
    pub permits: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn both() -> String {
    "both".to_owned()
}

/// Approvals that a switch needs.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyApprovals {
    /// Number of approvers of the image, 1 to 10; 1 when absent.
    #[serde(default = "one")]
    #[schema(example = 2, minimum = 1, maximum = 10)]
    pub count: u32,
    /// True if who started the attempt may not approve it; false when absent. The server's setting holds as well.
    #[serde(default)]
    #[schema(example = true)]
    pub four_eyes: bool,
    /// Minutes after the deployment became ready in which approvals are accepted, up to a week; none when absent. AWS's own limit (`readyUntil`) holds as well.
    #[serde(default)]
    #[schema(example = 60, minimum = 1, maximum = 10080)]
    pub minutes: Option<u32>,
}

fn one() -> u32 {
    1
}

impl PolicyApprovals {
    fn from_domain(approvals: &Approvals) -> Self {
        Self { count: approvals.count, four_eyes: approvals.four_eyes, minutes: approvals.minutes }
    }
}

impl PolicyWindow {
    fn from_domain(window: TimeWindow) -> Self {
        let TimeWindow { cron, time_zone, minutes, permits } = window;
        Self { cron, time_zone, minutes, permits }
    }
}

/// A version of a policy.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShownPolicy {
    /// 1, 2, 3 …
    #[schema(example = 3)]
    pub version: i32,
    /// Caller who stored it.
    #[schema(example = "alice")]
    pub created_by: String,
    /// Time at which it was stored (UTC).
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    /// Times in which starts or switches are permitted; always where no window is about them.
    pub windows: Vec<PolicyWindow>,
    /// Approvals that a switch needs.
    pub approvals: PolicyApprovals,
    /// Conditions of the traffic on green.
    pub gates: Vec<PolicyGate>,
    /// `never`, `when_gates_pass`, or a time of day with its time zone: when a ready deployment is switched without an approver.
    #[schema(example = "at 03:00 Asia/Seoul")]
    pub auto_switch: String,
    /// Labels of the target's deployments.
    #[schema(example = json!({"team": "payments", "environment": "production"}))]
    pub labels: BTreeMap<String, String>,
}

impl From<PolicyVersion> for ShownPolicy {
    fn from(row: PolicyVersion) -> Self {
        let Policy { windows, approvals, gates, auto_switch, labels } = row.policy.0;
        Self {
            version: row.version,
            created_by: row.created_by,
            created_at: row.created_at,
            windows: windows.into_iter().map(PolicyWindow::from_domain).collect(),
            approvals: PolicyApprovals::from_domain(&approvals),
            gates: gates.into_iter().map(PolicyGate::from).collect(),
            auto_switch: auto_switch.to_string(),
            labels: labels.0,
        }
    }
}
