//! The token's id in a path.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::commands::tokens::error::TokenError;
use crate::http::error::ApiError;
use crate::http::extract::path_id;

/// A token's id in the path. An invalid id is answered with 404 without a query.
#[derive(Debug)]
pub struct TokenId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for TokenId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        path_id(parts, state).await.map(Self).map_err(|id| TokenError::NotFound(id).into())
    }
}
