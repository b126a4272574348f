//! `PUT /api/v1/channels/{id}`: replaces the settings of a channel.

use axum::extract::State;

use super::ShownChannel;
use super::body::ChannelRequestBody;
use super::path::ChannelPath;
use crate::commands::receivers::change_channel;
use crate::domain::receiver::ReceiverFamily;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;

// ---- Handler

/// Change a channel
///
/// Replaces filter, settings, language and state; what is absent gets its default. Without `secret` the stored one stays, unless it would be sent to
/// another address. The kind stays. Requires the role admin of the repositories before and after the change.
#[utoipa::path(
    put, path = "/api/v1/channels/{id}", tag = "channels", operation_id = "changeChannel",
    request_body = ChannelRequestBody,
    params(("id" = String, Path, description = "Id of the channel.", example = "chn_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The channel after the change.", body = Envelope<ShownChannel>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of the repositories.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such channel.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The kind differs, or the secret must be given again.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    ChannelPath { id, .. }: ChannelPath,
    JsonBody(body): JsonBody<ChannelRequestBody>,
) -> Result<Envelope<ShownChannel>, ApiError> {
    let checked = body.check(false)?;
    let stored = match &checked.secret {
        None => Some(crate::commands::receivers::show(&state.db, (ReceiverFamily::Channels, &id), &caller).await?),
        Some(_) => None,
    };
    let config = checked.config_after(stored.as_ref());
    let changed = change_channel(&state.db, &id, &config, checked.secret.as_ref(), &caller).await?;
    tracing::info!(channel = id, enabled = changed.disabled_at.is_none(), "channel changed");
    state.receivers.changed.notify_one();
    Ok(Envelope::new("채널이 변경되었습니다.", ShownChannel::from(changed)))
}
