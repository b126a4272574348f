//! `POST /api/v1/events/ticket`: a ticket for the stream of all deployments.

use axum::extract::State;

use crate::http::ApiState;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::server::ServerError;
use crate::http::routes::deploy::ticket::{Ticket, issue_ticket};

/// Get a ticket for the stream of all deployments
///
/// Creates a ticket that opens `GET /api/v1/events` once, within 30 s, with the caller's scope.
#[utoipa::path(
    post, path = "/api/v1/events/ticket", tag = "sessions", operation_id = "eventsTicket",
    responses(
        (status = 200, description = "The ticket.", body = Envelope<Ticket>),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { grant, .. }: RequireRole<Viewer>,
) -> Result<Envelope<Ticket>, ApiError> {
    issue_ticket(&state, &grant, None).await?.ok_or_else(|| ServerError::Internal.into())
}
