//! `GET /api/v1/channels`: lists channels, the oldest first.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ShownChannel;
use crate::commands::receivers::list;
use crate::domain::receiver::ReceiverFamily;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Response

/// All channels that the caller may see.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelList {
    /// Channels, the oldest first; at most 100.
    pub channels: Vec<ShownChannel>,
}

// ---- Handler

/// List channels
///
/// Those whose repositories are all in the caller's scope. Requires the role admin.
#[utoipa::path(
    get, path = "/api/v1/channels", tag = "channels", operation_id = "listChannels",
    responses(
        (status = 200, description = "All channels, the oldest first.", body = Envelope<ChannelList>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
) -> Result<Envelope<ChannelList>, ApiError> {
    let channels =
        list(&state.db, ReceiverFamily::Channels, &caller).await?.into_iter().map(ShownChannel::from).collect();
    Ok(Envelope::new("채널 목록 조회 성공", ChannelList { channels }))
}
