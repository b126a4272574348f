//! `DELETE /api/v1/session`: closes the session of the request's cookie.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::end;
use crate::http::ApiState;
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::middleware::real_ip::Origin;

// ---- Response

/// Result of closing a session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionClosed {
    /// True if the request had a session cookie.
    #[schema(example = true)]
    pub had_cookie: bool,
}

// ---- The handler

/// Close the session
///
/// Removes the cookie, revokes the session and ends its event streams. Needs the cookie and no other credentials.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "sessions", operation_id = "closeSession", security(()),
    responses(
        (status = 200, description = "The session is closed, if there was one.", body = Envelope<SessionClosed>),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Origin(address): Origin,
    request: Request,
) -> Result<(HeaderMap, Envelope<SessionClosed>), ApiError> {
    let (parts, _) = request.into_parts();
    let (headers, had_cookie) = end(&state, &parts, address).await?;
    Ok((headers, Envelope::new("세션이 종료되었습니다.", SessionClosed { had_cookie })))
}
