//! `POST /api/v1/freezes`: holds the starts or switches of deployments for a time.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::ShownFreeze;
use crate::commands::freezes::{FreezeRequest, create};
use crate::commands::idempotency::Idempotent;
use crate::domain::freeze::{FreezeScope, Holds};
use crate::domain::message::message;
use crate::domain::validate;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;
use crate::http::pagination::parse_time;

/// Scope of idempotency keys: method and path.
const PATH: &str = "POST /api/v1/freezes";

// ---- Request

/// Deployments to hold, for how long and why.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CreateFreeze {
    /// Deployments that it concerns: `all`, `account:ID`, `region:NAME`, `owner:NAME` or `repository:OWNER/NAME`.
    #[schema(example = "repository:acme/shop", max_length = 160)]
    pub scope: String,
    /// Acts that it holds: `starts` (deployments wait in the queue), `switches` (requests to switch are refused) or `both`, the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "both", pattern = "^(starts|switches|both)$")]
    pub holds: Option<String>,
    /// Reason, which deployments that wait show; 1 to 500 characters.
    #[schema(example = "Christmas sale", min_length = 1, max_length = 500)]
    pub reason: String,
    /// Time from which on it holds (RFC 3339); now when it is absent or past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-12-23T18:00:00Z")]
    pub starts_at: Option<String>,
    /// Time until which it holds (RFC 3339): after the beginning, and at most 366 days from now.
    #[schema(value_type = String, format = DateTime, example = "2026-12-27T06:00:00Z")]
    pub ends_at: String,
}

impl CreateFreeze {
    fn check(self, state: &ApiState) -> Result<FreezeRequest, ApiError> {
        let scope: FreezeScope = self.scope.parse().map_err(|rule| ApiError::field("scope", rule))?;
        if let FreezeScope::Region(region) = &scope {
            validate::region(region, &state.config.extra_regions).map_err(|rule| ApiError::field("scope", rule))?;
        }
        let holds = self.holds.as_deref().map_or(Ok(Holds::default()), str::parse);
        let holds = holds.map_err(|rule| ApiError::field("holds", rule))?;
        validate::reason(&self.reason).map_err(|rule| ApiError::field("reason", rule))?;
        let starts_at = parse_time("startsAt", self.starts_at.as_deref())?;
        let ends_at = parse_time("endsAt", Some(&self.ends_at))?;
        let ends_at = ends_at.ok_or_else(|| ApiError::field("endsAt", message!("rule.missing")))?;
        Ok(FreezeRequest { scope, holds, reason: self.reason, starts_at, ends_at })
    }
}

// ---- Handler

/// Create a freeze
///
/// While it is in force, deployments in its scope wait in the queue, or their switch is refused with `SWITCH_FROZEN`; deployments that have started
/// continue. An approver overrides it with a reason. It never holds a rollback. Requires the role admin of what it covers: all repositories for `all`, an
/// account or a region.
#[utoipa::path(
    post, path = "/api/v1/freezes", tag = "freezes", operation_id = "createFreeze",
    request_body = CreateFreeze,
    params(IdempotencyKeyHeader),
    responses(
        (status = 200, description = "Created, now or earlier with the same key.", body = Envelope<ShownFreeze>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of what the freeze covers.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "500 freezes are in force or to come.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<CreateFreeze>,
) -> Result<Json<Value>, ApiError> {
    let key = key.key_for(&caller, PATH, &json!(body))?;
    let request = body.check(&state)?;
    let (scope, holds) = (request.scope.to_string(), request.holds);
    let stored = |made| json!(Envelope::new("배포 동결이 생성되었습니다.", ShownFreeze::from(made)));
    Ok(Json(match create(&state.db, request, key.as_ref(), &caller, stored).await? {
        Idempotent::Fresh(answer) => {
            tracing::info!(freeze = %answer["data"]["freezeId"], scope, %holds, "freeze created");
            answer
        }
        Idempotent::Replayed(answer) => answer,
    }))
}
