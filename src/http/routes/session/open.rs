//! `POST /api/v1/session`: opens a session for a caller with a token.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::begin;
use crate::db::tokens::CredentialForm;
use crate::domain::message::message;
use crate::http::ApiState;
use crate::http::auth::error::AccessError;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::time;

// ---- Response

/// An open session. The header `Set-Cookie` contains its cookie.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// End of the session (UTC). Null when the server does not require authentication: then no cookie is needed or set.
    #[schema(example = "2026-01-31T21:30:00.123Z")]
    #[serde(serialize_with = "time::optional_millis")]
    pub expires_at: Option<DateTime<Utc>>,
}

// ---- The handler

/// Open a session
///
/// Sets an `HttpOnly`, `SameSite=Strict` cookie for a browser, whose `EventSource` sends cookies but no other credentials. The cookie grants the
/// token's read access and nothing else. It expires after twelve hours by default, or with the token.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "sessions", operation_id = "openSession",
    responses(
        (status = 200, description = "The session is open and its cookie set.", body = Envelope<Session>),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { grant, caller, .. }: RequireRole<Viewer>,
    request: Request,
) -> Result<(HeaderMap, Envelope<Session>), ApiError> {
    let message = "세션이 시작되었습니다.";
    let Some(lasts) = state.auth.session_lifetime() else {
        return Ok((HeaderMap::new(), Envelope::new(message, Session { expires_at: None })));
    };
    // A session opened by a session could be prolonged for ever.
    if grant.form() != CredentialForm::Token {
        return Err(AccessError::NotSignedIn(message!("NOT_SIGNED_IN.session_opens_none")).into());
    }
    let (parts, _) = request.into_parts();
    let (headers, expires_at) = begin(&state, &parts, (&grant, &caller), lasts, false).await?;
    Ok((headers, Envelope::new(message, Session { expires_at: Some(expires_at) })))
}
