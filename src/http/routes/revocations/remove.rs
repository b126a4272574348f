//! `DELETE /api/v1/revocations/{id}`: lifts a revocation.

use axum::extract::State;

use super::SubjectRevocation;
use crate::commands::revocations::restore_subject;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::routes::revocations::path::RevocationId;

// ---- Handler

/// Lift a revocation
///
/// Accepts the subject's tokens again by the issuer's rules, within five seconds on all replicas. Stopped schedules stay stopped. Requires the role
/// admin and all repositories.
#[utoipa::path(
    delete, path = "/api/v1/revocations/{id}", tag = "revocations", operation_id = "restoreSubject",
    params(("id" = String, Path, description = "Id of the revocation.", example = "rev_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The lifted revocation.", body = Envelope<SubjectRevocation>),
        (status = 403, description = "The caller is not an admin of all repositories.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such revocation.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    RevocationId(id): RevocationId,
) -> Result<Envelope<SubjectRevocation>, ApiError> {
    let lifted = restore_subject(&state.db, &id, &caller).await?;
    tracing::info!(issuer = lifted.issuer, subject = lifted.subject, "revocation lifted");
    Ok(Envelope::new("권한 취소가 해제되었습니다.", SubjectRevocation::from(lifted)))
}
