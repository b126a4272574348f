//! `PUT /api/v1/policies/{owner}/{repo}`: stores the next version of a target's policy.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::gate::PolicyGate;
use super::path::RepositoryPath;
use super::{PolicyApprovals, PolicyWindow, ShownPolicy, TargetQuery};
use crate::commands::policies::gate_check::{GateClients, check_gates};
use crate::commands::policies::{require_admin, set_policy};
use crate::domain::auto_switch::AutoSwitch;
use crate::domain::gate::Gate;
use crate::domain::labels::Labels;
use crate::domain::message::message;
use crate::domain::policy::{Approvals, Policy, TimeWindow};
use crate::domain::validate::FieldRefusal;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::{JsonBody, QueryParams};
use crate::http::{ApiState, strict_object};

// ---- Request

/// The rules of a target. An absent member restricts nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewPolicy {
    /// Times in which starts or switches are permitted, up to 20; always where no window is about them.
    #[serde(default)]
    #[schema(max_items = 20)]
    pub windows: Vec<PolicyWindow>,
    /// Approvals that a switch needs; one when absent.
    #[serde(default, deserialize_with = "strict_object::optional")]
    pub approvals: Option<PolicyApprovals>,
    /// Conditions of the traffic on green, up to 10.
    #[serde(default)]
    #[schema(max_items = 10)]
    pub gates: Vec<PolicyGate>,
    /// When a ready deployment is switched without an approver: `never` (the default), `when_gates_pass`, or a time of day with its time zone.
    #[serde(default)]
    #[schema(example = "at 03:00 Asia/Seoul", pattern = "^(never|when_gates_pass|at [0-2][0-9]:[0-5][0-9] .+)$")]
    pub auto_switch: Option<String>,
    /// Labels of the target's deployments, up to 8: names of lower-case letters, digits, `-` and `_` (up to 31), values of 1 to 63 characters. A request
    /// may replace single ones.
    #[serde(default)]
    #[schema(example = json!({"team": "payments", "environment": "production"}))]
    pub labels: BTreeMap<String, String>,
}

impl NewPolicy {
    fn check(self, state: &ApiState) -> Result<Policy, ApiError> {
        let approvals = self.approvals.map_or_else(Approvals::default, |given| Approvals {
            count: given.count,
            four_eyes: given.four_eyes,
            minutes: given.minutes,
        });
        let windows = self.windows.into_iter().map(|given| {
            let PolicyWindow { cron, time_zone, minutes, permits } = given;
            TimeWindow { cron, time_zone, minutes, permits }
        });
        let auto_switch = self.auto_switch.as_deref().map(str::parse::<AutoSwitch>).transpose();
        let auto_switch = auto_switch.map_err(|rule| ApiError::field("autoSwitch", rule))?.unwrap_or_default();
        let gates = self
            .gates
            .into_iter()
            .enumerate()
            .map(|(index, given)| given.read().map_err(|refused| refused.within(&format!("gates[{index}]"))));
        let gates = gates.collect::<Result<Vec<Gate>, FieldRefusal>>()?;
        let labels = Labels(self.labels);
        let policy = Policy { windows: windows.collect(), approvals, gates, auto_switch, labels }.checked()?;
        // Without sign-in all callers are one: a second approver would never come.
        for (needed, field) in [(policy.approvals.count > 1, "count"), (policy.approvals.four_eyes, "fourEyes")] {
            if needed && !state.auth.is_required() {
                return Err(ApiError::field(format!("approvals.{field}"), message!("rule.policy_sign_in")));
            }
        }
        if !policy.auto_switch.is_never() && state.auth.requires_four_eyes() {
            return Err(ApiError::field("autoSwitch", message!("rule.auto_switch_approvals")));
        }
        Ok(policy)
    }
}

// ---- Handler

/// Store a target's policy
///
/// Stores the next version, unless the newest one is equal. Deployments that have started keep the version with which they started; starts follow the
/// newest one. Each gate is measured before the policy is stored, and refused if that is not possible: an alarm that does not exist, a query that returns
/// no single number, a build secret that the repository does not have. Requires the role admin of the repository.
#[utoipa::path(
    put, path = "/api/v1/policies/{owner}/{repo}", tag = "policies", operation_id = "setPolicy",
    request_body = NewPolicy,
    params(("owner" = String, Path, description = "Account or organisation of the source.", example = "acme"),
           ("repo" = String, Path, description = "Repository of the source.", example = "shop"), TargetQuery),
    responses(
        (status = 200, description = "The version in force.", body = Envelope<ShownPolicy>),
        (status = 400, description = "Malformed JSON, or an invalid field or parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of the repository.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The owner or the repository is empty: there is no such path.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    RepositoryPath(repository): RepositoryPath,
    QueryParams(query): QueryParams<TargetQuery>,
    JsonBody(body): JsonBody<NewPolicy>,
) -> Result<Envelope<ShownPolicy>, ApiError> {
    let target = query.target(&state, repository)?;
    let policy = body.check(&state)?;
    // Before anything is measured: a caller without the role learns nothing of addresses and alarms.
    require_admin(&target, &caller)?;
    let clients = GateClients { aws: &state.aws, gates: &state.gates };
    check_gates(&state.db, clients, &target, &policy.gates).await?;
    let stored = set_policy(&state.db, &target, &policy, &caller).await?;
    tracing::info!(owner = target.owner, repo = target.repo, version = stored.version, "policy in force");
    Ok(Envelope::new("정책이 저장되었습니다.", ShownPolicy::from(stored)))
}
