//! The freeze's id in a path.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::commands::freezes::error::FreezeError;
use crate::http::error::ApiError;
use crate::http::extract::path_id;

/// A freeze's id in the path. An invalid id is answered with 404 without a query.
#[derive(Debug)]
pub struct FreezeId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for FreezeId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        path_id(parts, state).await.map(Self).map_err(|id| FreezeError::NotFound(id).into())
    }
}
