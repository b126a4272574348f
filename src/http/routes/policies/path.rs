//! Owner and repository in a path.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::domain::validate;
use crate::http::error::ApiError;

/// A repository in the path, in lower case.
#[derive(Debug)]
pub struct RepositoryPath(pub (String, String));

impl<S: Send + Sync> FromRequestParts<S> for RepositoryPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let (owner, repo) = path.map(|Path(path)| path).unwrap_or_default();
        validate::owner(&owner).map_err(|rule| ApiError::field("owner", rule))?;
        validate::repo(&repo).map_err(|rule| ApiError::field("repo", rule))?;
        Ok(Self((owner.to_ascii_lowercase(), repo.to_ascii_lowercase())))
    }
}
