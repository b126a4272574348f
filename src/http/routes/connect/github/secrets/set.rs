//! `PUT /api/v1/connect/github/{id}/secrets/{name}`: stores a build secret, replacing one of the same name.

use axum::extract::State;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::BuildSecret;
use crate::commands::build_secrets::set_build_secret;
use crate::domain::message::message;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;
use crate::http::routes::connect::path::BuildSecretPath;

/// Shortest value, in bytes: a shorter one could not be masked in a build's output.
const MIN_VALUE: usize = 8;

/// Longest value, in bytes: with the field name and quotes it must fit into a request body.
const MAX_VALUE: usize = 48 * 1024;

// ---- Request

/// The secret's new value, which replaces an earlier one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBuildSecret {
    /// Secret text of 8 bytes to 48 KiB. Never returned.
    #[schema(value_type = String, format = Password, write_only, example = "npm_…", min_length = 8, max_length = 49152)]
    pub value: SecretString,
}

impl SetBuildSecret {
    fn validate(&self) -> Result<(), ApiError> {
        let value = self.value.expose_secret();
        if (MIN_VALUE..=MAX_VALUE).contains(&value.len()) && !value.contains('\0') {
            return Ok(());
        }
        Err(ApiError::field("value", message!("rule.secret_value", min = MIN_VALUE, max = MAX_VALUE)))
    }
}

// ---- Handler

/// Set a build secret
///
/// Builds that name the secret in `build.secrets` can read it with `RUN --mount=type=secret,id=NAME`. The value is stored encrypted and removed with
/// the connection.
#[utoipa::path(
    put, path = "/api/v1/connect/github/{id}/secrets/{name}", tag = "connections", operation_id = "setBuildSecret",
    params(("id" = String, Path, description = "Id of the connection.", example = "gh_4k1zq0v7w3m9x2c8b5n6"),
           ("name" = String, Path, description = "1 to 64 letters, digits, `-`, `_` and `.`, a letter or `_` first.", example = "npm_token")),
    request_body = SetBuildSecret,
    responses(
        (status = 200, description = "The secret is stored.", body = Envelope<BuildSecret>),
        (status = 400, description = "Malformed JSON, or an invalid name or value, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not connect.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such GitHub connection.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The connection has the maximum number of build secrets.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    BuildSecretPath { connection, name }: BuildSecretPath,
    JsonBody(body): JsonBody<SetBuildSecret>,
) -> Result<Envelope<BuildSecret>, ApiError> {
    body.validate()?;
    let set = set_build_secret(&state.db, &connection, &name, &body.value, &caller).await?;
    tracing::info!(%connection, name, "build secret set");
    Ok(Envelope::new("빌드 시크릿이 저장되었습니다.", BuildSecret::from(set)))
}
