//! Extractors for the ids in a path. An invalid id is answered with 404 without a query, because nothing can have it.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::commands::connect::error::ConnectError;
use crate::domain::build_spec::secret_name;
use crate::domain::text;
use crate::http::error::ApiError;
use crate::http::extract::{MAX_NAME, is_id, path_id};

/// A connection's id in the path. An invalid id is answered with 404 without a query.
#[derive(Debug)]
pub struct ConnectionId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for ConnectionId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        path_id(parts, state).await.map(Self).map_err(|id| ConnectError::NotFound(id).into())
    }
}

/// A connection's id and a build secret's name in the path.
#[derive(Debug)]
pub struct BuildSecretPath {
    /// Id of the GitHub connection (`gh_…`).
    pub connection: String,
    /// Name of the secret, validated.
    pub name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for BuildSecretPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let (connection, name) = path.map(|Path(path)| path).unwrap_or_default();
        if !is_id(&connection) {
            return Err(ConnectError::NotFound(text::cut(&connection, MAX_NAME)).into());
        }
        secret_name(&name).map_err(|rule| ApiError::field("name", rule))?;
        Ok(Self { connection, name })
    }
}
