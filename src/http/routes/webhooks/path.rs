//! The webhook's id in a path.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use crate::commands::receivers::error::ReceiverError;
use crate::http::error::ApiError;
use crate::http::extract::is_id;

/// A webhook's id in the path, and that of its delivery where the path has one. An invalid id is answered with 404 without a query.
#[derive(Debug)]
pub struct WebhookPath {
    /// Id of the webhook.
    pub id: String,
    /// Delivery id; empty in other paths.
    pub delivery: String,
}

impl<S: Send + Sync> FromRequestParts<S> for WebhookPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await.ok();
        let value = |name: &str| {
            let found = params.iter().flatten().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let (id, delivery) = (value("id"), value("delivery"));
        if !is_id(&id) {
            return Err(ReceiverError::WebhookNotFound(id).into());
        }
        if !delivery.is_empty() && !is_id(&delivery) {
            return Err(ReceiverError::DeliveryNotFound(delivery).into());
        }
        Ok(Self { id, delivery })
    }
}
