//! The calls of channels, one method each.

use reqwest::Method;
use serde_json::Value;

use super::Api;
use super::webhooks::TEST_LIMIT;
use crate::cli::error::CliError;

impl Api {
    /// `POST /api/v1/channels`, sent again as [`Api::deploy`] is; the response's data.
    pub async fn create_channel(&self, body: &Value) -> Result<Value, CliError> {
        self.post_once(&["channels"], body).await
    }

    /// `GET /api/v1/channels`; the response's data.
    pub async fn channels(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["channels"])?).await
    }

    /// `GET /api/v1/channels/{id}`; the response's data.
    pub async fn channel(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["channels", id])?).await
    }

    /// `PUT /api/v1/channels/{id}`; the response's data.
    pub async fn change_channel(&self, id: &str, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::PUT, &["channels", id])?.json(body)).await
    }

    /// `DELETE /api/v1/channels/{id}`; the response's data.
    pub async fn delete_channel(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["channels", id])?).await
    }

    /// `POST /api/v1/channels/{id}/test`; the response's data.
    pub async fn test_channel(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["channels", id, "test"])?.timeout(TEST_LIMIT)).await
    }

    /// `GET /api/v1/channels/{id}/deliveries` with its filters; the response's data.
    pub async fn channel_deliveries(&self, id: &str, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["channels", id, "deliveries"])?.query(query)).await
    }

    /// `POST /api/v1/channels/{id}/deliveries/{delivery}/replay`; the response's data.
    pub async fn replay_channel_delivery(&self, id: &str, delivery: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["channels", id, "deliveries", delivery, "replay"])?).await
    }
}
