//! `POST /api/v1/session`: opens a session, for whoever has a token.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::{cookie, is_secure};
use crate::domain::token;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;

// ---- What it answers

/// The session; its cookie is in the header `Set-Cookie`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// When it ends (UTC); null where nobody signs in, and no cookie is needed.
    #[schema(example = "2026-01-31T21:30:00.123456Z")]
    pub expires_at: Option<DateTime<Utc>>,
}

// ---- The handler

/// Open a session
///
/// For a browser, whose `EventSource` sends cookies and no other header: an `HttpOnly`, `SameSite=Strict` cookie that may read what the token may
/// read, and change nothing. It ends after twelve hours, or with the token.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "sessions", operation_id = "openSession",
    responses(
        (status = 200, description = "Open. The cookie is set.", body = Envelope<Session>),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { right, caller, .. }: Allowed<Viewer>,
    request: Request,
) -> Result<(HeaderMap, Envelope<Session>), ApiError> {
    let message = "세션이 시작되었습니다.";
    let Some(lasts) = state.auth.session() else {
        return Ok((HeaderMap::new(), Envelope::new(message, Session { expires_at: None })));
    };
    state.auth.opens_session(&caller.principal.subject)?;
    let secret = token::session().map_err(|_| ApiError::Internal)?;
    let hash = token::hash(&secret);
    let (expires_at, left) = state.db.insert_session(&hash, right.credential(), &caller, lasts).await?;
    let (parts, _) = request.into_parts();
    let headers = cookie(secret.expose_secret(), left.as_secs(), is_secure(&parts, &state));
    Ok((headers, Envelope::new(message, Session { expires_at: Some(expires_at) })))
}
