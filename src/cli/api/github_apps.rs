//! The calls of GitHub Apps.

use reqwest::Method;
use serde_json::Value;

use super::Api;
use crate::cli::error::CliError;

impl Api {
    /// `GET /api/v1/github-apps`; the response's data.
    pub async fn github_apps(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["github-apps"])?).await
    }

    /// `DELETE /api/v1/github-apps/{id}`; the response's data.
    pub async fn delete_github_app(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["github-apps", id])?).await
    }
}
