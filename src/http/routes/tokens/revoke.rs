//! `DELETE /api/v1/tokens/{id}`: revokes a token, and ends what acts with it.

use axum::extract::State;

use super::ApiToken;
use super::path::TokenId;
use crate::commands::tokens::withdraw_token;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Handler

/// Revoke a token
///
/// Servers refuse the token and end its sessions and event streams within five seconds. Its schedules stop and its queued deployments are cancelled;
/// running deployments continue. A token that was revoked before stays as it is. Requires the role admin and all repositories.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "tokens", operation_id = "revokeToken",
    params(("id" = String, Path, description = "Id of the token.", example = "tok_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The token is revoked, now or before.", body = Envelope<ApiToken>),
        (status = 403, description = "The caller is not an admin of all repositories.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such token.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    TokenId(id): TokenId,
) -> Result<Envelope<ApiToken>, ApiError> {
    let revoked = withdraw_token(&state.db, &id, &caller).await?;
    tracing::info!(token = id, "token revoked");
    Ok(Envelope::new("토큰이 취소되었습니다.", ApiToken::from(revoked)))
}
