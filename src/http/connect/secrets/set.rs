//! `PUT /api/v1/connect/github/{id}/secrets/{name}`: stores a secret for builds, in place of the one of that name.

use axum::extract::State;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::BuildSecret;
use crate::db::build_secrets::Set;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::{BuildSecretPath, JsonBody};
use crate::http::problem::Problem;

/// Shortest value, in bytes: a shorter one could not be masked in a build's output.
const MIN_VALUE: usize = 8;

/// Longest value, in bytes: with its name and the quotes it has to fit into a body.
const MAX_VALUE: usize = 48 * 1024;

// ---- What it takes

/// A secret.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBuildSecret {
    /// Its value, 8 bytes to 48 KiB of text. Never shown again.
    #[schema(value_type = String, format = Password, write_only, example = "npm_…", min_length = 8, max_length = 49152)]
    pub value: SecretString,
}

impl SetBuildSecret {
    fn validate(&self) -> Result<(), ApiError> {
        let value = self.value.expose_secret();
        if (MIN_VALUE..=MAX_VALUE).contains(&value.len()) && !value.contains('\0') {
            return Ok(());
        }
        Err(ApiError::field(
            "value",
            format!(
                "must have {MIN_VALUE} to {MAX_VALUE} bytes and no NUL: a shorter secret could not be masked in a build's output"
            ),
        ))
    }
}

// ---- The handler

/// Set a build secret
///
/// Builds that name it in `build.secrets` may read it with `RUN --mount=type=secret,id=NAME`. It is stored encrypted, and removed with the
/// connection.
#[utoipa::path(
    put, path = "/api/v1/connect/github/{id}/secrets/{name}", tag = "connections", operation_id = "setBuildSecret",
    params(("id" = String, Path, description = "The connection.", example = "gh_4k1zq0v7w3m9x2c8b5n6"),
           ("name" = String, Path, description = "1 to 64 letters, digits, `-`, `_` and `.`, a letter or `_` first.", example = "npm_token")),
    request_body = SetBuildSecret,
    responses(
        (status = 200, description = "Stored.", body = Envelope<BuildSecret>),
        (status = 400, description = "Malformed JSON, or the name or value is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not connect.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such connection to GitHub.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The connection has as many build secrets as it may.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Deployer>,
    BuildSecretPath { connection, name }: BuildSecretPath,
    JsonBody(body): JsonBody<SetBuildSecret>,
) -> Result<Envelope<BuildSecret>, ApiError> {
    body.validate()?;
    match state.db.set_build_secret(&connection, &name, &body.value, &caller).await? {
        Set::Now(set) => {
            tracing::info!(%connection, name, "build secret set");
            Ok(Envelope::new("빌드 시크릿이 저장되었습니다.", BuildSecret::from(set)))
        }
        Set::TooMany => Err(ApiError::TooManyBuildSecrets(connection)),
        Set::NoConnection => Err(ApiError::ConnectionNotFound(connection)),
    }
}
