//! `GET /api/v1/deploy/current`: the newest unfinished deployment, for a front end that reloads.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::deploy::error::DeployError;
use crate::http::ApiState;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Response

/// The newest unfinished deployment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CurrentDeployment {
    /// Id to use in paths: `/api/v1/deploy/{id}/…`.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Always true: the deployment is `RUNNING` or `DEPLOYMENT_READY`. Without one, the response is 404.
    #[schema(example = true)]
    pub is_active: bool,
}

// ---- Handler

/// Get the current deployment
#[utoipa::path(
    get, path = "/api/v1/deploy/current", tag = "deployments", operation_id = "currentDeployment",
    responses(
        (status = 200, description = "The newest deployment that is RUNNING or DEPLOYMENT_READY.", body = Envelope<CurrentDeployment>),
        (status = 404, description = "All deployments are finished.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Viewer>,
) -> Result<Envelope<CurrentDeployment>, ApiError> {
    let current = state.db.current_deployment(caller.scope()).await?.ok_or(DeployError::NoCurrent)?;
    Ok(Envelope::new("현재 배포 조회 성공", CurrentDeployment { deployment_id: current.id, is_active: true }))
}
