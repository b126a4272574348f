//! `GET /api/v1/deploy/current`: the newest deployment that is not finished, for a front end that comes back.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::ApiState;
use crate::http::auth::{Allowed, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::problem::Problem;

// ---- What it answers

/// A deployment that is not finished.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CurrentDeployment {
    /// Id.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// True: it is `RUNNING` or `DEPLOYMENT_READY`. When there is none, the answer is 404.
    #[schema(example = true)]
    pub is_active: bool,
}

// ---- The handler

/// The current deployment
#[utoipa::path(
    get, path = "/api/v1/deploy/current", tag = "deployments", operation_id = "currentDeployment",
    responses(
        (status = 200, description = "The newest deployment that is RUNNING or DEPLOYMENT_READY.", body = Envelope<CurrentDeployment>),
        (status = 404, description = "Every deployment is finished.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Viewer>,
) -> Result<Envelope<CurrentDeployment>, ApiError> {
    let current = state.db.current_deployment(caller.scope()).await?.ok_or(ApiError::NoCurrentDeployment)?;
    Ok(Envelope::new("현재 배포 조회 성공", CurrentDeployment { deployment_id: current.id, is_active: true }))
}
