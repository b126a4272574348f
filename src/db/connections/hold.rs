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

/// Locks a connection to an AWS account as [`hold_github`] does. None when it does not exist; otherwise true if it is a role with an external id that
/// the caller chose.
pub async fn hold_aws(connection: &mut PgConnection, id: &str) -> Result<Option<bool>, DbError> {
    let outdated = sqlx::query_scalar!(
        "SELECT role_arn IS NOT NULL AND NOT external_id_derived AS \"outdated!\" FROM aws_connections
         WHERE id = $1 AND removed_at IS NULL FOR KEY SHARE",
        id
    );
    Ok(outdated.fetch_optional(connection).await?)
}
