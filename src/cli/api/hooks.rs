//! The calls of push hooks.

use reqwest::Method;
use serde_json::{Value, json};

use super::Api;
use crate::cli::error::CliError;

impl Api {
    /// `POST /api/v1/hooks`, sent again as [`Api::deploy`] is; the response's data.
    pub async fn create_hook(&self, body: &Value) -> Result<Value, CliError> {
        self.post_once(&["hooks"], body).await
    }

    /// `GET /api/v1/hooks`; the response's data.
    pub async fn hooks(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["hooks"])?).await
    }

    /// `GET /api/v1/hooks/{id}`; the response's data.
    pub async fn hook(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["hooks", id])?).await
    }

    /// `PUT /api/v1/hooks/{id}`; the response's data.
    pub async fn change_hook(&self, id: &str, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::PUT, &["hooks", id])?.json(body)).await
    }

    /// `DELETE /api/v1/hooks/{id}`; the response's data.
    pub async fn delete_hook(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["hooks", id])?).await
    }

    /// `POST /api/v1/hooks/{id}/secret`, sent again as [`Api::deploy`] is; the response's data.
    pub async fn rotate_hook(&self, id: &str, hours: Option<u32>) -> Result<Value, CliError> {
        let body = hours.map_or_else(|| json!({}), |hours| json!({"keepPreviousHours": hours}));
        self.post_once(&["hooks", id, "secret"], &body).await
    }

    /// `GET /api/v1/hooks/{id}/deliveries` with its filters; the response's data.
    pub async fn hook_deliveries(&self, id: &str, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["hooks", id, "deliveries"])?.query(query)).await
    }

    /// `POST /api/v1/hooks/{id}/deliveries/{delivery}/redelivery`; the response's data.
    pub async fn redeliver(&self, id: &str, delivery: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["hooks", id, "deliveries", delivery, "redelivery"])?).await
    }
}
