//! `POST /api/v1/hooks`: creates a push hook. Its secret is in the answer, once.

use axum::extract::State;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{PushHookBody, PushHookWithSecret, ShownPushHook};
use crate::commands::idempotency::Idempotent;
use crate::commands::push_hooks::create;
use crate::domain::push_hook::signature;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::error::server::ServerError;
use crate::http::extract::JsonBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;

/// Scope of idempotency keys: method and path.
const PATH: &str = "POST /api/v1/hooks";

// ---- Handler

/// Create a push hook
///
/// GitHub sends pushes to `payloadPath`; the first rule that matches one starts a deployment of the pushed commit, with the caller's permission until
/// another admin changes the hook. The answer has the secret for GitHub's settings, which cannot be shown again. Repeating a request with the same
/// `Idempotency-Key` creates nothing, and returns the hook without its secret. Requires the role admin of its repositories.
#[utoipa::path(
    post, path = "/api/v1/hooks", tag = "hooks", operation_id = "createPushHook",
    request_body = PushHookBody,
    params(IdempotencyKeyHeader),
    responses(
        (status = 200, description = "Created, now or earlier with the same key.", body = Envelope<PushHookWithSecret>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of the repositories.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There are 200 push hooks.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<PushHookBody>,
) -> Result<Json<Value>, ApiError> {
    let key = key.key_for(&caller, PATH, &json!(body))?;
    let settings = body.check(&state, &caller).await?;
    let secret = signature::new_secret().map_err(|_| ServerError::Internal)?;
    let stored = |made| {
        let data = PushHookWithSecret { secret: None, hook: ShownPushHook::from(made) };
        json!(Envelope::new("푸시 훅이 생성되었습니다.", data))
    };
    Ok(Json(match create(&state.db, &settings, &secret, key.as_ref(), &caller, stored).await? {
        Idempotent::Fresh(mut answer) => {
            tracing::info!(hook = %answer["data"]["hook"]["hookId"], rules = settings.rules.len(), "push hook created");
            answer["data"]["secret"] = secret.expose_secret().into();
            answer
        }
        Idempotent::Replayed(answer) => answer,
    }))
}
