//! `GET /api/v1/channels/{id}`: one channel.

use axum::extract::State;

use super::ShownChannel;
use super::path::ChannelPath;
use crate::commands::receivers::show;
use crate::domain::receiver::ReceiverFamily;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Handler

/// Show a channel
///
/// Requires the role admin of its repositories.
#[utoipa::path(
    get, path = "/api/v1/channels/{id}", tag = "channels", operation_id = "getChannel",
    params(("id" = String, Path, description = "Id of the channel.", example = "chn_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The channel, with the state of its deliveries.", body = Envelope<ShownChannel>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such channel.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    ChannelPath { id, .. }: ChannelPath,
) -> Result<Envelope<ShownChannel>, ApiError> {
    let found = show(&state.db, (ReceiverFamily::Channels, &id), &caller).await?;
    Ok(Envelope::new("채널 조회 성공", ShownChannel::from(found)))
}
