//! `POST /api/v1/deploy/{id}/ticket`: issues a ticket for one request about a deployment by a client that cannot send headers.

use axum::extract::State;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::not_found::not_found;
use crate::commands::sessions;
use crate::domain::token;
use crate::http::ApiState;
use crate::http::auth::{Grant, RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::server::ServerError;
use crate::http::routes::deploy::path::DeploymentId;
use crate::http::time;

// ---- Response

/// A ticket that authenticates one request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// Value of the query parameter `ticket`.
    #[schema(example = "pandat_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub ticket: String,
    /// Time until which it can be used, once (UTC).
    #[serde(serialize_with = "time::millis")]
    pub expires_at: DateTime<Utc>,
}

// ---- Handler

/// Get a ticket for a deployment
///
/// The ticket authorises one request for this deployment's event stream or result within 30 s, for browsers without a token. The stream lasts no
/// longer than the authentication of the caller who got the ticket.
#[utoipa::path(
    post, path = "/api/v1/deploy/{id}/ticket", tag = "sessions", operation_id = "deploymentTicket",
    params(("id" = String, Path, description = "Id of the deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "A new ticket.", body = Envelope<Ticket>),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { grant, .. }: RequireRole<Viewer>,
    DeploymentId(id): DeploymentId,
) -> Result<Envelope<Ticket>, ApiError> {
    match issue_ticket(&state, &grant, Some(&id)).await? {
        Some(ticket) => Ok(ticket),
        None => Err(not_found(&state, &grant.principal.scope, id).await),
    }
}

/// Issues a ticket for the deployment `id`, or for the stream of all; none when the deployment does not exist within the caller's scope.
pub async fn issue_ticket(
    state: &ApiState,
    grant: &Grant,
    id: Option<&str>,
) -> Result<Option<Envelope<Ticket>>, ApiError> {
    let secret = token::ticket().map_err(|_| ServerError::Internal)?;
    let made =
        sessions::issue_ticket(&state.db, &token::hash(&secret), id, grant.credential(), &grant.principal).await?;
    Ok(made.map(|expires_at| {
        Envelope::new("티켓이 발급되었습니다.", Ticket { ticket: secret.expose_secret().to_owned(), expires_at })
    }))
}
