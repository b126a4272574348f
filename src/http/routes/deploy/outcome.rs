//! `PUT /api/v1/deploy/{id}/outcome`: marks how a deployment did in production.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::commands::deployment_change::DeploymentChange;
use crate::commands::outcome::mark_outcome;
use crate::domain::production_outcome::ProductionOutcome;
use crate::domain::validate;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;
use crate::http::routes::deploy::path::DeploymentId;

// ---- Request

/// Outcome in production, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarkOutcome {
    /// `ok` (no immediate intervention was needed), `failed` (it was needed) or `rework` (an unplanned deployment because of an incident).
    #[schema(example = "failed")]
    pub outcome: String,
    /// Reason in the caller's words, kept in the audit log; 1 to 500 characters.
    #[schema(example = "Checkout answered 500 for 12 minutes", min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

impl MarkOutcome {
    fn check(&self) -> Result<(ProductionOutcome, Option<&str>), ApiError> {
        let outcome = self.outcome.parse().map_err(|rule| ApiError::field("outcome", rule))?;
        if let Some(reason) = &self.reason {
            validate::reason(reason).map_err(|rule| ApiError::field("reason", rule))?;
        }
        Ok((outcome, self.reason.as_deref()))
    }
}

// ---- Response

/// Confirms which outcome was marked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkedOutcome {
    /// Id from the request's path.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Outcome that the deployment now has.
    #[schema(example = "failed")]
    pub outcome: &'static str,
}

// ---- Handler

/// Mark a deployment's outcome in production
///
/// Decides how the DORA figures count the deployment; without a mark, a rollback or a hotfix that follows makes it a failed one. Repeating the request
/// changes nothing; another outcome replaces the mark. An archived deployment can be marked as well.
#[utoipa::path(
    put, path = "/api/v1/deploy/{id}/outcome", tag = "deployments", operation_id = "markOutcome",
    params(("id" = String, Path, description = "Id of the deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6")),
    request_body = MarkOutcome,
    responses(
        (status = 200, description = "The outcome is marked.", body = Envelope<MarkedOutcome>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not deploy.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The deployment's traffic was never on green.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    DeploymentId(id): DeploymentId,
    JsonBody(body): JsonBody<MarkOutcome>,
) -> Result<Envelope<MarkedOutcome>, ApiError> {
    let (outcome, reason) = body.check()?;
    let change = DeploymentChange { id: &id, key: None, by: &caller, answer: &Value::Null };
    mark_outcome(&state.db, change, outcome, reason).await?;
    tracing::info!(deployment = %id, outcome = outcome.as_str(), "outcome in production marked");
    Ok(Envelope::new("배포 결과가 표시되었습니다.", MarkedOutcome { deployment_id: id, outcome: outcome.as_str() }))
}
