//! `POST /api/v1/hooks/{id}/deliveries/{delivery}/redelivery`: decides on a delivery again.

use axum::extract::State;

use super::ShownPushDelivery;
use crate::commands::push_hooks::redeliver::redeliver;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::language::{AskedLang, Labelled};
use crate::http::routes::hooks::github;
use crate::http::routes::hooks::path::PushHookPath;

// ---- Handler

/// Redeliver a push
///
/// Decides again, by the present rules and with the present permission of the hook's owner, on what was received. A delivery that has started a
/// deployment cannot be redelivered. Requires the role admin of the hook's repositories.
#[utoipa::path(
    post, path = "/api/v1/hooks/{id}/deliveries/{delivery}/redelivery", tag = "hooks", operation_id = "redeliverPush",
    params(
        ("id" = String, Path, description = "Id of the push hook.", example = "hok_4k1zq0v7w3m9x2c8b5n6"),
        ("delivery" = String, Path, description = "Id of the delivery.", example = "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
    ),
    responses(
        (status = 200, description = "The delivery with the new decision.", body = Envelope<ShownPushDelivery>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such push hook, or no such delivery with a valid signature.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The delivery has started a deployment.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    PushHookPath { id, delivery }: PushHookPath,
    lang: AskedLang,
) -> Result<Labelled<Envelope<ShownPushDelivery>>, ApiError> {
    let access = (state.starter(), &state.pushes.sign_in);
    let decided = redeliver(&state.db, access, (&id, &delivery), &caller).await?;
    github::announce(&state, &id, &decided).await;
    let lang = lang.texts();
    let body = Envelope::new("푸시를 다시 판단했습니다.", ShownPushDelivery::new(decided.delivery, lang));
    Ok(Labelled { lang, body })
}
