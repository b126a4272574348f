//! Deletion of connections: removes the secrets and keeps the row, which past deployments refer to.

use serde_json::json;
use sqlx::PgConnection;

use crate::db::audit::{self, AuditRecord};
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::principal::{Caller, Scope};

/// Outcome of a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The connection can no longer be used.
    Now,
    /// This unfinished deployment uses the connection.
    InUse(String),
    /// The connection does not exist, is outside the caller's scope, or was deleted before.
    Unknown,
}

impl Db {
    /// Deletes a connection of either kind, unless an unfinished deployment uses it. A caller may delete a connection to an AWS account when every
    /// repository that it serves is in the caller's scope.
    pub async fn delete_connection(&self, id: &str, by: &Caller) -> Result<Deleted, DbError> {
        let mut tx = self.pool.begin().await?;
        let Some(repository) = lock(&mut tx, id, by.scope()).await? else { return Ok(Deleted::Unknown) };
        // The transaction that creates a deployment holds the connection's row until its commit (`create::unusable_connection`), so that none is
        // missed here.
        let user = sqlx::query_scalar!(
            "SELECT id FROM deployments
             WHERE (github_connection_id = $1 OR aws_connection_id = $1) AND status IN ('RUNNING', 'DEPLOYMENT_READY')
             ORDER BY started_at LIMIT 1",
            id
        )
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(user) = user {
            return Ok(Deleted::InUse(user));
        }
        sqlx::query!(
            "UPDATE github_connections
             SET removed_at = now(), token = NULL, token_sealed = NULL, key_id = NULL, wrapped_key = NULL WHERE id = $1",
            id
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!("DELETE FROM github_build_secrets WHERE connection_id = $1", id).execute(&mut *tx).await?;
        sqlx::query!(
            "UPDATE aws_connections
             SET removed_at = now(), secret_access_key = NULL, session_token = NULL, external_id = NULL, key_id = NULL,
                 wrapped_key = NULL, secret_access_key_sealed = NULL, session_token_sealed = NULL, external_id_sealed = NULL
             WHERE id = $1",
            id
        )
        .execute(&mut *tx)
        .await?;
        let repository = repository.as_ref().map(|(owner, repo)| (owner.as_str(), repo.as_str()));
        let entry = AuditRecord {
            by,
            action: Action::RemoveConnection,
            target: Some(id),
            repository,
            refused: None,
            details: json!({}),
        };
        audit::record(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(Deleted::Now)
    }
}

/// Locks the connection until the transaction ends and returns its repository, if it has one. The outer option is none when `scope` has no such
/// connection.
async fn lock(
    connection: &mut PgConnection,
    id: &str,
    scope: &Scope,
) -> Result<Option<Option<(String, String)>>, DbError> {
    let github =
        sqlx::query!("SELECT owner, repo FROM github_connections WHERE id = $1 AND removed_at IS NULL FOR UPDATE", id)
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(found) = github {
        return Ok(scope.holds(&found.owner, &found.repo).then_some(Some((found.owner, found.repo))));
    }
    let aws = sqlx::query!("SELECT scope FROM aws_connections WHERE id = $1 AND removed_at IS NULL FOR UPDATE", id)
        .fetch_optional(connection)
        .await?;
    Ok(aws.filter(|found| scope.includes(&Scope::from_sql(found.scope.clone()))).map(|_| None))
}
