//! Deletion of connections: removes the secrets and keeps the row, which past deployments refer to.

use sqlx::PgConnection;

use crate::db::DbError;
use crate::domain::principal::Scope;

/// Locks a connection to a source repository, and returns owner and name of the repository.
pub async fn lock_github(connection: &mut PgConnection, id: &str) -> Result<Option<(String, String)>, DbError> {
    let found =
        sqlx::query!("SELECT owner, repo FROM github_connections WHERE id = $1 AND removed_at IS NULL FOR UPDATE", id)
            .fetch_optional(connection)
            .await?;
    Ok(found.map(|row| (row.owner, row.repo)))
}

/// Locks a connection to an AWS account, and returns the repositories that it serves.
pub async fn lock_aws(connection: &mut PgConnection, id: &str) -> Result<Option<Scope>, DbError> {
    let found = sqlx::query!("SELECT scope FROM aws_connections WHERE id = $1 AND removed_at IS NULL FOR UPDATE", id)
        .fetch_optional(connection)
        .await?;
    Ok(found.map(|row| Scope::from_sql(row.scope)))
}

/// Returns an unfinished deployment that uses a locked connection. The transaction that creates a deployment holds the connection's row until its
/// commit ([`super::hold`]), so that none is missed.
pub async fn user(connection: &mut PgConnection, id: &str) -> Result<Option<String>, DbError> {
    let user = sqlx::query_scalar!(
        "SELECT id FROM deployments
             WHERE (github_connection_id = $1 OR aws_connection_id = $1) AND status IN ('RUNNING', 'DEPLOYMENT_READY')
             ORDER BY started_at LIMIT 1",
        id
    )
    .fetch_optional(connection)
    .await?;
    Ok(user)
}

/// Removes the secrets of a connection of either kind, with its build secrets. A connection to an AWS account in which Panda has put rules keeps its
/// secrets until they are removed ([`super::cleanup`]).
pub async fn erase(connection: &mut PgConnection, id: &str) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE github_connections
             SET removed_at = now(), token_encrypted = NULL, key_id = NULL, wrapped_key = NULL WHERE id = $1",
        id
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("DELETE FROM github_build_secrets WHERE connection_id = $1", id).execute(&mut *connection).await?;
    sqlx::query!(
        "UPDATE aws_connections c
             SET removed_at = now(),
                 cleanup_since = CASE WHEN put.rules THEN now() END,
                 key_id = CASE WHEN put.rules THEN c.key_id END,
                 wrapped_key = CASE WHEN put.rules THEN c.wrapped_key END,
                 secret_access_key_encrypted = CASE WHEN put.rules THEN c.secret_access_key_encrypted END,
                 session_token_encrypted = CASE WHEN put.rules THEN c.session_token_encrypted END,
                 external_id_encrypted = CASE WHEN put.rules THEN c.external_id_encrypted END
             FROM (SELECT EXISTS (
                       SELECT FROM deployments
                       WHERE account_id = (SELECT account_id FROM aws_connections WHERE id = $1)
                         AND (step <> 'ensure_event_rule' OR error_code = 'EVENT_RULE_FAILED')) AS rules) AS put
             WHERE c.id = $1",
        id
    )
    .execute(connection)
    .await?;
    Ok(())
}
