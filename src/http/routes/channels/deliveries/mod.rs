//! `GET /api/v1/channels/{id}/deliveries`: deliveries that did not succeed at the first attempt, newest first, in pages.

pub mod replay;

use axum::extract::State;

use super::path::ChannelPath;
use crate::domain::receiver::ReceiverFamily;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::routes::webhooks::deliveries::{DeliveriesQuery, DeliveryPage, page};

// ---- Handler

/// List deliveries of a channel
///
/// Those that did not succeed at the first attempt, and those that quiet hours hold: `pending` with no attempts. Ended ones are kept for 30 days.
/// Requires the role admin of the channel's repositories.
#[utoipa::path(
    get, path = "/api/v1/channels/{id}/deliveries", tag = "channels", operation_id = "listChannelDeliveries",
    params(("id" = String, Path, description = "Id of the channel.", example = "chn_4k1zq0v7w3m9x2c8b5n6"), DeliveriesQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<DeliveryPage>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such channel.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    ChannelPath { id, .. }: ChannelPath,
    QueryParams(query): QueryParams<DeliveriesQuery>,
) -> Result<Envelope<DeliveryPage>, ApiError> {
    let page = page(&state, (ReceiverFamily::Channels, &id), query, &caller).await?;
    Ok(Envelope::new("채널 전송 목록 조회 성공", page))
}
