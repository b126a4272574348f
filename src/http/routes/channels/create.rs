//! `POST /api/v1/channels`: creates a channel.

use axum::extract::State;
use serde_json::{Value, json};

use super::ShownChannel;
use super::body::ChannelRequestBody;
use crate::commands::idempotency::Idempotent;
use crate::commands::receivers::create;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;

/// Scope of idempotency keys: method and path.
const PATH: &str = "POST /api/v1/channels";

// ---- Handler

/// Create a channel
///
/// It shows deployments from now on. The secret (a bot token, the address of an incoming webhook, or a password) is stored encrypted and never shown.
/// Requires the role admin of its repositories.
#[utoipa::path(
    post, path = "/api/v1/channels", tag = "channels", operation_id = "createChannel",
    request_body = ChannelRequestBody,
    params(IdempotencyKeyHeader),
    responses(
        (status = 200, description = "Created, now or earlier with the same key.", body = Envelope<ShownChannel>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of the repositories.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There are 100 channels.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<ChannelRequestBody>,
) -> Result<Json<Value>, ApiError> {
    let key = key.key_for(&caller, PATH, &json!(body))?;
    let checked = body.check(true)?;
    let stored = |made| json!(Envelope::new("채널이 생성되었습니다.", ShownChannel::from(made)));
    let secret = checked.secret.as_ref();
    Ok(Json(match create(&state.db, &checked.config, secret, key.as_ref(), &caller, stored).await? {
        Idempotent::Fresh(answer) => {
            tracing::info!(channel = %answer["data"]["channelId"], "channel created");
            state.receivers.changed.notify_one();
            answer
        }
        Idempotent::Replayed(answer) => answer,
    }))
}
