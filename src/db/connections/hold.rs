//! Connections that a new deployment may use.

use sqlx::PgConnection;

use crate::db::DbError;

/// Locks a connection to a source repository until the caller's transaction ends: a deletion waits for that, and then sees the new deployment. False
/// when it does not exist.
pub async fn hold_github(connection: &mut PgConnection, id: &str) -> Result<bool, DbError> {
    let found = sqlx::query!("SELECT FROM github_connections WHERE id = $1 AND removed_at IS NULL FOR KEY SHARE", id)
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

/// Locks a connection to an AWS account as [`hold_github`] does.
pub async fn hold_aws(connection: &mut PgConnection, id: &str) -> Result<bool, DbError> {
    let found = sqlx::query!("SELECT FROM aws_connections WHERE id = $1 AND removed_at IS NULL FOR KEY SHARE", id)
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}
