//! `POST /api/v1/deploy/{id}/rollback`: requests that the version before the live one returns.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::command::notify;
use crate::commands::idempotency::Idempotent;
use crate::commands::rollback::{AcceptedRollback, CarriedOut, RollbackRequest, rollback};
use crate::domain::message::message;
use crate::domain::validate;
use crate::http::ApiState;
use crate::http::auth::{Approver, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::{UnreadBody, is_id, parse};
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;
use crate::http::routes::deploy::path::DeploymentId;

// ---- Request

/// Version that is to return, and why. Both are optional, as is the body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// Id of an earlier COMPLETED deployment of the same target, whose version is to return; absent, the last good one: the newest before this
    /// deployment with another image that was not rolled back itself.
    #[schema(example = "dep_2b5n6c8x9m3w7v0q1zk4", max_length = 64)]
    pub to: Option<String>,
    /// Reason in the caller's words, for the audit log and the new deployment.
    #[schema(example = "checkout answers 500", min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

impl Rollback {
    /// Reads the body; absent, each member is.
    fn of(body: &Value) -> Result<Self, ApiError> {
        if body.is_null() {
            return Ok(Self::default());
        }
        let rollback: Self = parse(body.to_string().as_bytes())?;
        if rollback.to.as_deref().is_some_and(|to| !is_id(to)) {
            return Err(ApiError::field("to", message!("rule.rollback_id")));
        }
        if let Some(reason) = &rollback.reason {
            validate::reason(reason).map_err(|rule| ApiError::field("reason", rule))?;
        }
        Ok(rollback)
    }
}

// ---- Response

/// Confirms that the rollback was requested, and says how it is carried out.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollingBack {
    /// Id of the deployment that carries the rollback out: the one from the path at AWS, or a new one.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Text with the path of the event stream to follow.
    #[schema(example = "Rollback started. Listen to /api/v1/deploy/dep_4k1zq0v7w3m9x2c8b5n6/events")]
    pub message: String,
    /// `at_aws`: AWS takes the traffic back to blue. `new_deployment`: blue is gone, or another version is to return, and a new deployment brings the
    /// earlier image without clone and build; it is switched as any other.
    #[schema(example = "at_aws")]
    pub how: &'static str,
    /// Id of the deployment whose version returns; null if blue was not deployed by Panda.
    #[schema(example = "dep_2b5n6c8x9m3w7v0q1zk4")]
    pub to: Option<String>,
    /// Digest of the image that returns; null if Panda does not know it.
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub image_digest: Option<String>,
    /// Position of the new deployment in the target's queue, from 1; null when it is not queued.
    #[schema(example = 1)]
    pub queue_position: Option<i64>,
}

fn answer(requested: &AcceptedRollback) -> Value {
    let id = &requested.deployment_id;
    json!(Envelope::new(
        "롤백이 시작되었습니다.",
        RollingBack {
            deployment_id: id.clone(),
            message: format!("Rollback started. Listen to /api/v1/deploy/{id}/events"),
            how: match requested.how {
                CarriedOut::AtAws => "at_aws",
                CarriedOut::NewDeployment => "new_deployment",
            },
            to: requested.to.clone(),
            image_digest: requested.image_digest.clone(),
            queue_position: requested.queue_position,
        },
    ))
}

// ---- Handler

/// Roll a deployment back
///
/// The deployment must be the one that is live in its target. While blue lives, AWS takes the traffic back, and the deployment becomes FAILED with
/// `ROLLED_BACK_AFTER_SWITCH` once the traffic was seen on blue. Afterwards a new deployment of an earlier image starts, ahead of the queue, without
/// clone and build. Repeating the request meanwhile returns the same response.
#[utoipa::path(
    post, path = "/api/v1/deploy/{id}/rollback", tag = "deployments", operation_id = "rollBackDeployment",
    params(("id" = String, Path, description = "Id of the live deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"), IdempotencyKeyHeader),
    request_body(content = Option<Rollback>, description = "Optional: the version that is to return, and why.", content_type = "application/json"),
    responses(
        (status = 200, description = "The rollback was requested: `how` says how it is carried out, `deploymentId` what to follow.", body = Envelope<RollingBack>),
        (status = 400, description = "Invalid Idempotency-Key or field; `to` is no COMPLETED deployment of the same target, has no known image, or the live one's.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an approver.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The deployment is not COMPLETED or not live, is being rolled back to another version, or has no earlier version: `errorCode` says which.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Approver>,
    DeploymentId(id): DeploymentId,
    key: IdempotencyKeyHeader,
    body: UnreadBody,
) -> Result<Json<Value>, ApiError> {
    let Rollback { to, reason } = Rollback::of(&body.0)?;
    let key = key.key_for(&caller, &format!("POST /api/v1/deploy/{id}/rollback"), &body.0)?;
    let request =
        RollbackRequest { id: &id, to: to.as_deref(), reason: reason.as_deref(), key: key.as_ref(), by: &caller };
    match rollback(&state.db, state.starter(), request, answer).await? {
        Idempotent::Replayed(answer) => Ok(Json(answer)),
        Idempotent::Fresh(requested) => {
            let (with, how) = (&requested.deployment_id, requested.how);
            tracing::info!(deployment = %id, %with, ?how, "rollback requested");
            notify(&state, with).await;
            Ok(Json(answer(&requested)))
        }
    }
}
