//! `DELETE /api/v1/revocations/{id}`: accept a subject again.

use axum::extract::State;

use super::{RevokedSubject, for_all};
use crate::http::ApiState;
use crate::http::auth::{Admin, Allowed};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::RevocationId;
use crate::http::problem::Problem;

// ---- The handler

/// Lift a revocation
///
/// Tokens of the subject are accepted again as the issuer's rules say, within five seconds on all replicas. What stopped stays stopped. For admins
/// who see all repositories.
#[utoipa::path(
    delete, path = "/api/v1/revocations/{id}", tag = "revocations", operation_id = "restoreSubject",
    params(("id" = String, Path, description = "The revocation.", example = "rev_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "Lifted: what it was.", body = Envelope<RevokedSubject>),
        (status = 403, description = "The caller is no admin, or not for all repositories.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such revocation.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Admin>,
    RevocationId(id): RevocationId,
) -> Result<Envelope<RevokedSubject>, ApiError> {
    for_all(&caller)?;
    let lifted = state.db.restore_subject(&id, &caller).await?.ok_or(ApiError::RevocationNotFound(id))?;
    tracing::info!(issuer = lifted.issuer, subject = lifted.subject, "revocation lifted");
    Ok(Envelope::new("권한 취소가 해제되었습니다.", RevokedSubject::from(lifted)))
}
