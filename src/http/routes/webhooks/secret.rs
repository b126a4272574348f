//! `POST /api/v1/webhooks/{id}/secret`: rotates the secret of a webhook. The new one is in the answer, once.

use axum::extract::State;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::path::WebhookPath;
use super::{ShownWebhook, WebhookWithSecret};
use crate::commands::idempotency::Idempotent;
use crate::commands::receivers::rotate;
use crate::domain::message::message;
use crate::domain::webhook::{MAX_ROTATION_HOURS, ROTATION_HOURS, signing};
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::error::server::ServerError;
use crate::http::extract::JsonBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;

// ---- Request

/// Time for which the secrets before the new one sign as well.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RotateWebhookSecret {
    /// Hours, 0 to 168; 24 when absent. With 0 they end immediately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 24, minimum = 0, maximum = 168)]
    pub keep_previous_hours: Option<i64>,
}

// ---- Handler

/// Rotate the secret of a webhook
///
/// Deliveries are signed with the new secret, and until they end also with those before it, in one header `webhook-signature`. Repeating a request with
/// the same `Idempotency-Key` changes nothing, and returns the webhook without the secret. Requires the role admin of its repositories.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{id}/secret", tag = "webhooks", operation_id = "rotateWebhookSecret",
    request_body = RotateWebhookSecret,
    params(("id" = String, Path, description = "Id of the webhook.", example = "whk_4k1zq0v7w3m9x2c8b5n6"), IdempotencyKeyHeader),
    responses(
        (status = 200, description = "Rotated, now or earlier with the same key.", body = Envelope<WebhookWithSecret>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such webhook.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Three secrets are valid already.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    WebhookPath { id, .. }: WebhookPath,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<RotateWebhookSecret>,
) -> Result<Json<Value>, ApiError> {
    let key = key.key_for(&caller, &format!("POST /api/v1/webhooks/{id}/secret"), &json!(body))?;
    let hours = body.keep_previous_hours.unwrap_or(ROTATION_HOURS);
    if !(0..=MAX_ROTATION_HOURS).contains(&hours) {
        return Err(ApiError::field("keepPreviousHours", message!("rule.rotation_hours", max = MAX_ROTATION_HOURS)));
    }
    let secret = signing::new_secret().map_err(|_| ServerError::Internal)?;
    let stored = |made| {
        let data = WebhookWithSecret { secret: None, webhook: ShownWebhook::from(made) };
        json!(Envelope::new("웹훅 시크릿이 교체되었습니다.", data))
    };
    Ok(Json(match rotate(&state.db, &id, (&secret, hours), key.as_ref(), &caller, stored).await? {
        Idempotent::Fresh(mut answer) => {
            tracing::info!(webhook = id, "secret of a webhook rotated");
            state.receivers.changed.notify_one();
            answer["data"]["secret"] = secret.expose_secret().into();
            answer
        }
        Idempotent::Replayed(answer) => answer,
    }))
}
