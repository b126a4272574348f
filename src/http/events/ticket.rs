//! `POST /api/v1/events/ticket`: a ticket for the stream of all deployments.

use axum::extract::State;

use crate::http::ApiState;
use crate::http::auth::{Allowed, Viewer};
use crate::http::deploy::ticket::{Ticket, make};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;

/// Get a ticket for the stream of all deployments
///
/// It opens `GET /api/v1/events` once, within 30 s, with what the caller may see.
#[utoipa::path(
    post, path = "/api/v1/events/ticket", tag = "sessions", operation_id = "eventsTicket",
    responses(
        (status = 200, description = "The ticket.", body = Envelope<Ticket>),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { right, .. }: Allowed<Viewer>,
) -> Result<Envelope<Ticket>, ApiError> {
    make(&state, &right, None).await?.ok_or(ApiError::Internal)
}
