//! `DELETE /api/v1/channels/{id}`: deletes a channel with its secret and deliveries.

use axum::extract::State;

use super::ShownChannel;
use super::path::ChannelPath;
use crate::commands::receivers::delete;
use crate::domain::receiver::ReceiverFamily;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Handler

/// Delete a channel
///
/// A request that is being made may still arrive. Requires the role admin of its repositories.
#[utoipa::path(
    delete, path = "/api/v1/channels/{id}", tag = "channels", operation_id = "deleteChannel",
    params(("id" = String, Path, description = "Id of the channel.", example = "chn_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The channel as it was.", body = Envelope<ShownChannel>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such channel.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    ChannelPath { id, .. }: ChannelPath,
) -> Result<Envelope<ShownChannel>, ApiError> {
    let deleted = delete(&state.db, (ReceiverFamily::Channels, &id), &caller).await?;
    tracing::info!(channel = id, "channel deleted");
    state.receivers.changed.notify_one();
    Ok(Envelope::new("채널이 삭제되었습니다.", ShownChannel::from(deleted)))
}
