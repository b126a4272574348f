//! `POST /api/v1/deploy/{id}/ticket`: a ticket for one look at a deployment, where no header can be sent.

use axum::extract::State;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::missing::missing;
use crate::domain::token;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Right, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::DeploymentId;

// ---- What it answers

/// A ticket.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// Give it as `ticket` in the query.
    #[schema(example = "pandat_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub ticket: String,
    /// Until when it can be used, once (UTC).
    pub expires_at: DateTime<Utc>,
}

// ---- The handler

/// Get a ticket for a deployment
///
/// It opens this deployment's event stream, or its result, once, within 30 s: for browsers that are not given a token. A stream that was opened lasts as long as the caller's
/// right.
#[utoipa::path(
    post, path = "/api/v1/deploy/{id}/ticket", tag = "sessions", operation_id = "deploymentTicket",
    params(("id" = String, Path, description = "The deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The ticket.", body = Envelope<Ticket>),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { right, .. }: Allowed<Viewer>,
    DeploymentId(id): DeploymentId,
) -> Result<Envelope<Ticket>, ApiError> {
    match make(&state, &right, Some(&id)).await? {
        Some(ticket) => Ok(ticket),
        None => Err(missing(&state, &right.principal.scope, id).await),
    }
}

/// A ticket for the stream of a deployment, or of all; none when there is no such deployment for the caller.
pub async fn make(state: &ApiState, right: &Right, id: Option<&str>) -> Result<Option<Envelope<Ticket>>, ApiError> {
    let secret = token::ticket().map_err(|_| ApiError::Internal)?;
    let made = state.db.insert_ticket(&token::hash(&secret), id, right.credential(), &right.principal).await?;
    Ok(made.map(|expires_at| {
        Envelope::new("티켓이 발급되었습니다.", Ticket { ticket: secret.expose_secret().to_owned(), expires_at })
    }))
}
