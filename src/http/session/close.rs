//! `DELETE /api/v1/session`: ends the session whose cookie the request has.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::{cookie, is_secure};
use crate::domain::principal::Caller;
use crate::domain::token::SecretHash;
use crate::http::ApiState;
use crate::http::auth::headers;
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::{Origin, request_id};

// ---- What it answers

/// No session any more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionClosed {
    /// Whether the request had a session's cookie.
    #[schema(example = true)]
    pub had_cookie: bool,
}

// ---- The handler

/// Close the session
///
/// The cookie is removed, and refused from now on; its event streams end. Needs the cookie and nothing else.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "sessions", operation_id = "closeSession", security(()),
    responses(
        (status = 200, description = "Closed, if there was one.", body = Envelope<SessionClosed>),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Origin(address): Origin,
    request: Request,
) -> Result<(HeaderMap, Envelope<SessionClosed>), ApiError> {
    let (parts, _) = request.into_parts();
    let session = headers::session(&parts.headers).map(SecretHash::of);
    if let Some(hash) = &session {
        let by = Caller { address, request_id: request_id(&parts.headers).to_owned(), ..Caller::local() };
        state.db.delete_session(hash, &by).await?;
        state.auth.end_session(hash);
    }
    let closed = SessionClosed { had_cookie: session.is_some() };
    Ok((cookie("", 0, is_secure(&parts, &state)), Envelope::new("세션이 종료되었습니다.", closed)))
}
