//! `POST /api/v1/deploy/{id}/switch`: wish for the traffic on green.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wish::{Answer, Request, write};
use crate::db::wishes::Wish;
use crate::domain::deployment::Status;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Approver};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::{DeploymentId, UnreadBody};
use crate::http::idempotency::KeyHeader;
use crate::http::problem::Problem;

// ---- What it answers

/// The switch is under way.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Switching {
    /// The deployment.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Where to listen.
    #[schema(example = "Traffic switch started. Listen to /api/v1/deploy/dep_4k1zq0v7w3m9x2c8b5n6/events")]
    pub message: String,
    /// Which side gets the traffic: always `green`.
    #[schema(example = "green")]
    pub active_service: &'static str,
    /// Always `IN_PROGRESS`; the event stream and the result tell the end.
    #[schema(example = "IN_PROGRESS")]
    pub switch_status: &'static str,
}

// ---- The handler

/// Switch the traffic to green
///
/// Repeating it while the switch is under way gives the same answer and changes nothing.
#[utoipa::path(
    post, path = "/api/v1/deploy/{id}/switch", tag = "deployments", operation_id = "switchDeployment",
    params(("id" = String, Path, description = "The deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, new for each new request; the first answer is kept for 24 hours.",
            example = "3f2b6c1e-5d0f-4a53-9d53-6f8f2a1c7e10", max_length = 255)),
    responses(
        (status = 200, description = "The switch is under way.", body = Envelope<Switching>),
        (status = 400, description = "The Idempotency-Key is not valid.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no approver, or started the deployment where another one has to approve.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Not ready to be switched, or switched already: `message` tells which.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Approver>,
    DeploymentId(id): DeploymentId,
    key: KeyHeader,
    body: UnreadBody,
) -> Result<Json<Value>, ApiError> {
    let answer = json!(Envelope::new(
        "배포 전환이 시작되었습니다.",
        Switching {
            message: format!("Traffic switch started. Listen to /api/v1/deploy/{id}/events"),
            deployment_id: id.clone(),
            active_service: "green",
            switch_status: "IN_PROGRESS",
        },
    ));
    match write(
        &state,
        &caller,
        Request {
            wish: Wish::Switch { by_another: state.auth.needs_another() },
            name: "switch",
            id: id.clone(),
            key,
            body,
        },
        answer,
    )
    .await?
    {
        Answer::Now(answer) => Ok(Json(answer)),
        Answer::NotNow(status) => Err(match status {
            Status::Running => ApiError::SwitchTooEarly { stage: state.db.latest_stage(&id).await?, id },
            Status::Completed => ApiError::AlreadySwitched(id),
            Status::Failed => ApiError::DeploymentFailed(id),
            // Ready, and yet not to be switched: only a wish to cancel does that.
            Status::DeploymentReady => ApiError::BeingCancelled(id),
        }),
    }
}
