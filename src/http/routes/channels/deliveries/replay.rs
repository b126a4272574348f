//! `POST /api/v1/channels/{id}/deliveries/{delivery}/replay`: sends a dead letter again.

use axum::extract::State;

use crate::commands::receivers::replay;
use crate::domain::receiver::ReceiverFamily;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::routes::channels::path::ChannelPath;
use crate::http::routes::webhooks::deliveries::ShownDelivery;

// ---- Handler

/// Replay a dead letter
///
/// It is due immediately, with a new series of attempts. Later events of its deployment may have been delivered since: `sequence` has the order.
/// Requires the role admin of the channel's repositories.
#[utoipa::path(
    post, path = "/api/v1/channels/{id}/deliveries/{delivery}/replay", tag = "channels", operation_id = "replayChannelDelivery",
    params(
        ("id" = String, Path, description = "Id of the channel.", example = "chn_4k1zq0v7w3m9x2c8b5n6"),
        ("delivery" = String, Path, description = "Id of the delivery.", example = "01970000-0000-7000-8000-000000000000"),
    ),
    responses(
        (status = 200, description = "The delivery is pending.", body = Envelope<ShownDelivery>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such channel or delivery.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The delivery is not dead, or its event was removed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    ChannelPath { id, delivery }: ChannelPath,
) -> Result<Envelope<ShownDelivery>, ApiError> {
    let replayed = replay(&state.db, (ReceiverFamily::Channels, &id), &delivery, &caller).await?;
    tracing::info!(channel = id, delivery, "dead letter of a channel replayed");
    state.receivers.changed.notify_one();
    Ok(Envelope::new("채널 전송을 다시 시도합니다.", ShownDelivery::from(replayed)))
}
