//! `GET /api/v1/policies/{owner}/{repo}`: the policy of a target, with its history.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::path::RepositoryPath;
use super::{ShownPolicy, TargetQuery};
use crate::http::ApiState;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;

/// Number of versions that are shown.
const SHOWN: i64 = 100;

// ---- Response

/// The versions of a policy.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyHistory {
    /// Up to 100 versions, the newest first, which is in force. Empty where none was stored.
    pub versions: Vec<ShownPolicy>,
}

// ---- Handler

/// Get a target's policy
///
/// Its versions, the newest first. A target without a policy has that of its repository (without `accountId` and `region`).
#[utoipa::path(
    get, path = "/api/v1/policies/{owner}/{repo}", tag = "policies", operation_id = "policy",
    params(("owner" = String, Path, description = "Account or organisation of the source.", example = "acme"),
           ("repo" = String, Path, description = "Repository of the source.", example = "shop"), TargetQuery),
    responses(
        (status = 200, description = "The versions.", body = Envelope<PolicyHistory>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The owner or the repository is empty: there is no such path.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Viewer>,
    RepositoryPath(repository): RepositoryPath,
    QueryParams(query): QueryParams<TargetQuery>,
) -> Result<Envelope<PolicyHistory>, ApiError> {
    let target = query.target(&state, repository)?;
    // What is outside the scope does not exist for the caller.
    let visible = caller.scope().holds(&target.owner, &target.repo);
    let versions = if visible { state.db.policy_versions(&target, SHOWN).await? } else { Vec::new() };
    Ok(Envelope::new(
        "정책 조회 성공",
        PolicyHistory { versions: versions.into_iter().map(ShownPolicy::from).collect() },
    ))
}
