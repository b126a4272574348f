//! Requests of earlier deployments, to be repeated.

use sqlx::types::Json;

use crate::db::{Db, DbError};
use crate::domain::labels::Labels;
use crate::domain::principal::Scope;

/// The request of a deployment, without its concurrency.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct DeploymentRequest {
    pub github_connection_id: String,
    pub aws_connection_id: String,
    pub owner: String,
    pub repo: String,
    pub branch: String,
    pub build: Option<serde_json::Value>,
    pub reason: Option<String>,
    pub kind: String,
    pub requested_labels: Json<Labels>,
}

impl Db {
    /// Returns the request of a deployment if it is in the scope.
    pub async fn deployment_request(&self, scope: &Scope, id: &str) -> Result<Option<DeploymentRequest>, DbError> {
        Ok(sqlx::query_as!(
            DeploymentRequest,
            "SELECT github_connection_id, aws_connection_id, owner, repo, branch, build, reason, kind,
                    requested_labels AS \"requested_labels: Json<Labels>\"
             FROM deployments WHERE id = $1 AND in_scope(owner, repo, $2)",
            id,
            scope.sql()
        )
        .fetch_optional(&self.pool)
        .await?)
    }
}
