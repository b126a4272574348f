//! `POST /api/v1/tokens`: creates a token. Its secret is in the answer, once; only its hash is stored.

use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::ApiToken;
use crate::commands::idempotency::Idempotent;
use crate::commands::tokens::issue_token;
use crate::db::tokens::NewToken;
use crate::domain::message::message;
use crate::domain::principal::{self, Role, Scope};
use crate::domain::{ids, token};
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
const PATH: &str = "POST /api/v1/tokens";

/// Longest time until a token's expiry, in days.
const MAX_DAYS: i64 = 3_650;

// ---- Request

/// Name and permissions of a new token.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TokenRequest {
    /// Name of the token's user or program, as log and audit show it: letters, digits and `-_.@+:/`.
    #[schema(example = "ci-shop", min_length = 1, max_length = 100)]
    pub name: String,
    /// Role that the token grants: `viewer`, `deployer`, `approver` or `admin`. Each includes those before it.
    #[schema(example = "deployer", pattern = "^(viewer|deployer|approver|admin)$")]
    pub role: String,
    /// Repositories that the token covers, `owner/repo` or `owner/*`; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["acme/shop"]), min_items = 1, max_items = 100)]
    pub repositories: Option<Vec<String>>,
    /// Days until the token expires; it never does when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 90, minimum = 1, maximum = 3650)]
    pub expires_in_days: Option<i64>,
}

impl TokenRequest {
    /// Validates the request. `now` is the database's time, by which a token expires.
    fn check(&self, now: DateTime<Utc>) -> Result<NewToken, ApiError> {
        principal::token_name(&self.name).map_err(|rule| ApiError::field("name", rule))?;
        let role: Role = self.role.parse().map_err(|rule| ApiError::field("role", rule))?;
        let scope = self.repositories.as_deref().map_or(Ok(Scope::All), Scope::of);
        let days = self.expires_in_days;
        if days.is_some_and(|days| !(1..=MAX_DAYS).contains(&days)) {
            return Err(ApiError::field("expiresInDays", message!("rule.limit", max = MAX_DAYS)));
        }
        Ok(NewToken {
            id: ids::token_id(),
            name: self.name.clone(),
            role,
            scope: scope.map_err(|rule| ApiError::field("repositories", rule))?,
            expires_at: days.map(|days| now + TimeDelta::days(days)),
        })
    }
}

// ---- Response

/// A new token, with its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewApiToken {
    /// The token itself, for the header `Authorization`. It cannot be shown again: null where the request repeats an earlier one.
    #[schema(example = "panda_0000000000000000000000000000000000000000000000000000000000000000")]
    pub secret: Option<String>,
    /// The token as it is listed.
    pub token: ApiToken,
}

// ---- Handler

/// Create a token
///
/// The answer has the token's secret, which is stored as a hash and cannot be shown again. Repeating a request with the same `Idempotency-Key` creates
/// nothing, and returns the token without its secret. Requires the role admin and all repositories.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "tokens", operation_id = "createToken",
    request_body = TokenRequest,
    params(IdempotencyKeyHeader),
    responses(
        (status = 200, description = "Created, now or earlier with the same key.", body = Envelope<NewApiToken>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<TokenRequest>,
) -> Result<Json<Value>, ApiError> {
    let key = key.key_for(&caller, PATH, &json!(body))?;
    let new = body.check(state.db.token_time().await?)?;
    let secret = token::api_token().map_err(|_| ServerError::Internal)?;
    let stored = |made| {
        let data = NewApiToken { secret: None, token: ApiToken::from(made) };
        json!(Envelope::new("토큰이 생성되었습니다.", data))
    };
    let issued = issue_token(&state.db, &new, &token::hash(&secret), key.as_ref(), &caller, stored).await?;
    Ok(Json(match issued {
        Idempotent::Fresh(mut answer) => {
            tracing::info!(token = new.id, name = new.name, role = %new.role, "token created");
            answer["data"]["secret"] = secret.expose_secret().into();
            answer
        }
        Idempotent::Replayed(answer) => answer,
    }))
}
