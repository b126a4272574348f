//! `POST /api/v1/connect/aws/{id}/rule-role`: creates the role in the connected account.

use axum::extract::State;

use super::{RuleRole, names};
use crate::commands::connect::aws::rule_role::create;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::routes::connect::path::ConnectionId;

// ---- Handler

/// Create the role of the rules
///
/// Creates the role that `GET` shows, in the connected account and with the connection's credentials, and stores it as `ruleTargetRoleArn` of the connection. Repeating the
/// request changes nothing. A role of that name with another content is not overwritten.
#[utoipa::path(
    post, path = "/api/v1/connect/aws/{id}/rule-role", tag = "connections", operation_id = "createRuleRole",
    params(("id" = String, Path, description = "Id of the connection.", example = "aws_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The role is there, and the connection uses it.", body = Envelope<RuleRole>),
        (status = 403, description = "The caller may not connect.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such AWS connection that the caller may renew.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A role of that name has another content, or AWS refuses.", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS is unavailable.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    ConnectionId(id): ConnectionId,
) -> Result<Envelope<RuleRole>, ApiError> {
    let planned = Box::pin(create(&state.db, &state.aws, names(&state), &id, &caller)).await?;
    tracing::info!(connection = %id, role = planned.role.arn, "role of the event rules ready");
    Ok(Envelope::new("이벤트 규칙의 역할이 준비되었습니다.", RuleRole::new(id, planned)))
}
