//! `POST /api/v1/channels/{id}/test`: sends a test message, and answers with its outcome.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::path::ChannelPath;
use crate::commands::receivers::probe;
use crate::domain::receiver::ReceiverFamily;
use crate::domain::receiver::attempt::AttemptVerdict;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Response

/// The channel's answer to a test message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelTestAnswer {
    /// True if the channel accepted it.
    pub accepted: bool,
    /// Status of the answer (of SMTP for mail); null without one.
    #[schema(example = 200)]
    pub status: Option<u16>,
    /// Reason for which it was not accepted; null otherwise.
    #[schema(example = "slack: not_in_channel")]
    pub error: Option<String>,
}

// ---- Handler

/// Test a channel
///
/// Sends one message, also to a disabled channel. It is not tried again, and not in the list of deliveries. Requires the role admin of its
/// repositories.
#[utoipa::path(
    post, path = "/api/v1/channels/{id}/test", tag = "channels", operation_id = "testChannel",
    params(("id" = String, Path, description = "Id of the channel.", example = "chn_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The message was sent; `accepted` has its outcome.", body = Envelope<ChannelTestAnswer>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such channel.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    ChannelPath { id, .. }: ChannelPath,
) -> Result<Envelope<ChannelTestAnswer>, ApiError> {
    let (_, answer) =
        probe::test(&state.db, &state.receivers.clients, (ReceiverFamily::Channels, &id), &caller).await?;
    let accepted = answer.verdict == AttemptVerdict::Delivered;
    tracing::info!(channel = id, accepted, status = answer.status, "channel tested");
    let data = ChannelTestAnswer { accepted, status: answer.status, error: answer.reason };
    Ok(Envelope::new("채널 테스트 메시지를 보냈습니다.", data))
}
