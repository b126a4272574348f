//! What a schedule deploys, and the connections that it names.

use sqlx::PgConnection;
use sqlx::types::Json;

use crate::db::DbError;
use crate::domain::labels::Labels;
use crate::domain::principal::Scope;

/// The deployment's values in a row of `schedules`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct ScheduleTarget {
    pub id: String,
    pub github_connection_id: String,
    pub aws_connection_id: String,
    pub branch: String,
    pub build: Option<serde_json::Value>,
    pub reason: Option<String>,
    pub kind: String,
    pub labels: Json<Labels>,
    pub concurrency: String,
}

/// The AWS connection of a schedule.
#[derive(Clone, Debug)]
pub struct TargetAccount {
    /// AWS account: twelve digits.
    pub account_id: String,
    /// AWS region.
    pub region: String,
    /// True if the scope may use the connection for the repository.
    pub usable: bool,
}

/// Locks a schedule of the scope and returns its target.
pub async fn lock(connection: &mut PgConnection, id: &str, scope: &Scope) -> Result<Option<ScheduleTarget>, DbError> {
    let target = sqlx::query_as!(
        ScheduleTarget,
        "SELECT id, github_connection_id, aws_connection_id, branch, build, reason, kind, labels AS \"labels: Json<Labels>\", concurrency FROM schedules
             WHERE id = $1 AND deleted_at IS NULL AND in_scope(owner, repo, $2) FOR UPDATE",
        id,
        scope.sql()
    )
    .fetch_optional(connection)
    .await?;
    Ok(target)
}

/// Returns owner and name of the repository of a connection; none when the connection was removed.
pub async fn repository(connection: &mut PgConnection, github: &str) -> Result<Option<(String, String)>, DbError> {
    let found = sqlx::query!("SELECT owner, repo FROM github_connections WHERE id = $1 AND removed_at IS NULL", github)
        .fetch_optional(connection)
        .await?;
    Ok(found.map(|row| (row.owner, row.repo)))
}

/// Returns the account of a connection, for this repository and scope; none when the connection was removed.
pub async fn account(
    connection: &mut PgConnection,
    aws: &str,
    (owner, repo): (&str, &str),
    scope: &Scope,
) -> Result<Option<TargetAccount>, DbError> {
    let found = sqlx::query_as!(
        TargetAccount,
        "SELECT account_id, region, in_scope($2, $3, scope) AND ($4::text[] IS NULL OR scope IS NOT NULL) AS \"usable!\"
         FROM aws_connections WHERE id = $1 AND removed_at IS NULL",
        aws,
        owner,
        repo,
        scope.sql()
    )
    .fetch_optional(connection)
    .await?;
    Ok(found)
}
