//! `GET` and `POST /api/v1/connect/aws/{id}/rule-role`: the role that EventBridge assumes for the target of the account's rules.

pub mod create;

use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::commands::connect::aws::rule_role::{PlannedRole, RoleNames, RoleState, plan};
use crate::domain::event_route::TargetRole;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::routes::connect::path::ConnectionId;

// ---- Response

/// The role that Panda creates for the target of an account's rules, and its state.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleRole {
    /// Connection whose account has the role.
    #[schema(example = "aws_4k1zq0v7w3m9x2c8b5n6")]
    pub aws_connection_id: String,
    /// Role in the connected account, the same for each connection of account and region.
    #[schema(example = "arn:aws:iam::123456789012:role/panda-events-ap-northeast-2-1a2b3c4d")]
    pub role_arn: String,
    /// Event bus on which the role may put events.
    #[schema(example = "arn:aws:events:ap-northeast-2:210987654321:event-bus/panda")]
    pub event_bus_arn: String,
    /// Trust policy of the role: only EventBridge, for Panda's rules of this account and region.
    #[schema(value_type = Object)]
    pub trust_policy: Value,
    /// Name of the inline policy.
    #[schema(example = "panda-put-events")]
    pub policy_name: &'static str,
    /// Inline policy of the role: `events:PutEvents` on the event bus.
    #[schema(value_type = Object)]
    pub policy: Value,
    /// State in the account before this request: `absent`, `incomplete` (the policy is missing), `present`, or `differs` (another content, which is
    /// not overwritten).
    #[schema(example = "absent")]
    pub state: &'static str,
}

impl RuleRole {
    fn new(id: String, planned: PlannedRole) -> Self {
        Self {
            aws_connection_id: id,
            role_arn: planned.role.arn,
            event_bus_arn: planned.bus_arn,
            trust_policy: planned.role.trust_policy,
            policy_name: TargetRole::POLICY_NAME,
            policy: planned.role.policy,
            state: match planned.state {
                RoleState::Absent => "absent",
                RoleState::Incomplete => "incomplete",
                RoleState::Present => "present",
                RoleState::Differs => "differs",
            },
        }
    }
}

/// Names on which the role depends.
fn names(state: &ApiState) -> RoleNames<'_> {
    RoleNames { event_bus: &state.event_bus, names: &state.names }
}

// ---- Handler

/// Show the role of the rules
///
/// EventBridge needs a role to send events to an event bus of another account or region. Shows the role that `POST` would create in the connected account, and whether it is
/// there. Changes nothing.
#[utoipa::path(
    get, path = "/api/v1/connect/aws/{id}/rule-role", tag = "connections", operation_id = "showRuleRole",
    params(("id" = String, Path, description = "Id of the connection.", example = "aws_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The planned role and its state.", body = Envelope<RuleRole>),
        (status = 403, description = "The caller may not connect.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such AWS connection that the caller may renew.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "AWS refuses to look up the role.", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS is unavailable.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    ConnectionId(id): ConnectionId,
) -> Result<Envelope<RuleRole>, ApiError> {
    // Boxed: the SDK's calls take kilobytes.
    let planned = Box::pin(plan(&state.db, &state.aws, names(&state), &id, &caller)).await?;
    Ok(Envelope::new("이벤트 규칙의 역할을 조회했습니다.", RuleRole::new(id, planned)))
}
