//! Extractors for the ids in a path. An invalid id is answered with 404 without a query, because nothing can have it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::commands::schedules::error::ScheduleError;
use crate::http::error::ApiError;
use crate::http::extract::path_id;

/// A schedule's id in the path. An invalid id is answered with 404 without a query.
#[derive(Debug)]
pub struct ScheduleId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for ScheduleId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        path_id(parts, state).await.map(Self).map_err(|id| ScheduleError::NotFound(id).into())
    }
}
