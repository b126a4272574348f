//! The calls of webhooks.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::Api;
use crate::cli::error::CliError;

/// Time limit of a test: the server waits ten seconds for the receiver.
pub(super) const TEST_LIMIT: Duration = Duration::from_secs(15);

impl Api {
    /// `POST /api/v1/webhooks`, sent again as [`Api::deploy`] is; the response's data.
    pub async fn create_webhook(&self, body: &Value) -> Result<Value, CliError> {
        self.post_once(&["webhooks"], body).await
    }

    /// `GET /api/v1/webhooks`; the response's data.
    pub async fn webhooks(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["webhooks"])?).await
    }

    /// `GET /api/v1/webhooks/{id}`; the response's data.
    pub async fn webhook(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["webhooks", id])?).await
    }

    /// `PUT /api/v1/webhooks/{id}`; the response's data.
    pub async fn change_webhook(&self, id: &str, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::PUT, &["webhooks", id])?.json(body)).await
    }

    /// `DELETE /api/v1/webhooks/{id}`; the response's data.
    pub async fn delete_webhook(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["webhooks", id])?).await
    }

    /// `POST /api/v1/webhooks/{id}/test`; the response's data.
    pub async fn test_webhook(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["webhooks", id, "test"])?.timeout(TEST_LIMIT)).await
    }

    /// `POST /api/v1/webhooks/{id}/secret`, sent again as [`Api::deploy`] is; the response's data.
    pub async fn rotate_webhook(&self, id: &str, hours: Option<u32>) -> Result<Value, CliError> {
        let body = hours.map_or_else(|| json!({}), |hours| json!({"keepPreviousHours": hours}));
        self.post_once(&["webhooks", id, "secret"], &body).await
    }

    /// `GET /api/v1/webhooks/{id}/deliveries` with its filters; the response's data.
    pub async fn webhook_deliveries(&self, id: &str, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["webhooks", id, "deliveries"])?.query(query)).await
    }

    /// `POST /api/v1/webhooks/{id}/deliveries/{delivery}/replay`; the response's data.
    pub async fn replay_delivery(&self, id: &str, delivery: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["webhooks", id, "deliveries", delivery, "replay"])?).await
    }
}
