//! The push hook's id in a path.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use crate::commands::push_hooks::error::PushHookError;
use crate::domain::text;
use crate::http::error::ApiError;
use crate::http::extract::{MAX_NAME, is_id};

/// A push hook's id in the path, and that of its delivery where the path has one. An invalid id is answered with 404 without a query.
#[derive(Debug)]
pub struct PushHookPath {
    /// Id of the push hook.
    pub id: String,
    /// Delivery id; empty in other paths.
    pub delivery: String,
}

impl<S: Send + Sync> FromRequestParts<S> for PushHookPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await.ok();
        let value = |name: &str| {
            let found = params.iter().flatten().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let (id, delivery) = (value("id"), value("delivery"));
        if !is_id(&id) {
            return Err(PushHookError::NotFound(text::cut(&id, MAX_NAME)).into());
        }
        if !delivery.is_empty() && !is_id(&delivery) {
            return Err(PushHookError::DeliveryNotFound(text::cut(&delivery, MAX_NAME)).into());
        }
        Ok(Self { id, delivery })
    }
}
