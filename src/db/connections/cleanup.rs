//! Removed connections whose rules and statement in AWS still have to be removed. `cleanup_since` marks them; the secrets stay until the rules are
//! removed, for a limited time.

use std::time::Duration;

use sqlx::PgConnection;

use crate::db::{Db, DbError};
use crate::domain::connection::AwsConnection;

/// A removed connection with something left in AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Id of the connection.
    pub id: String,
    /// AWS account, twelve digits.
    pub account_id: String,
    /// Region of its rules.
    pub region: String,
    /// True as long as its rules may be left: it still has its secrets.
    pub has_secrets: bool,
    /// True if the time for which the secrets may stay is over.
    pub is_overdue: bool,
}

impl Db {
    /// Lists removed connections with something left in AWS, the oldest first. Secrets may stay for `secrets_for`.
    pub async fn connections_to_clean(&self, secrets_for: Duration, limit: i64) -> Result<Vec<Leftover>, DbError> {
        Ok(sqlx::query_as!(
            Leftover,
            "SELECT id, account_id, region, wrapped_key IS NOT NULL AS \"has_secrets!\",
                    cleanup_since < now() - make_interval(secs => $1) AS \"is_overdue!\"
             FROM aws_connections WHERE cleanup_since IS NOT NULL ORDER BY cleanup_since LIMIT $2",
            secrets_for.as_secs_f64(),
            limit
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Loads a removed connection whose secrets are still there.
    pub async fn connection_to_clean(&self, id: &str) -> Result<Option<AwsConnection>, DbError> {
        self.read_aws(&[id.to_owned()], true).await?.pop().transpose()
    }

    /// Lists the repositories that a connection has deployed.
    pub async fn repositories_of_connection(&self, id: &str) -> Result<Vec<(String, String)>, DbError> {
        let rows = sqlx::query!("SELECT DISTINCT owner, repo FROM deployments WHERE aws_connection_id = $1", id)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(|row| (row.owner, row.repo)).collect())
    }

    /// Removes the secrets of a removed connection whose rules are gone, or cannot be removed.
    pub async fn erase_secrets_of_removed(&self, id: &str) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE aws_connections
             SET key_id = NULL, wrapped_key = NULL,
                 secret_access_key_encrypted = NULL, session_token_encrypted = NULL, external_id_encrypted = NULL
             WHERE id = $1 AND removed_at IS NOT NULL",
            id
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Records that nothing of a removed connection is left in AWS. Its secrets must have been removed.
    pub async fn end_cleanup(&self, id: &str) -> Result<(), DbError> {
        sqlx::query!("UPDATE aws_connections SET cleanup_since = NULL WHERE id = $1", id).execute(&self.pool).await?;
        Ok(())
    }

    /// Reports whether a connection to the account exists.
    pub async fn has_connection_to(&self, account_id: &str) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM aws_connections WHERE account_id = $1 AND removed_at IS NULL) AS \"exists!\"",
            account_id
        )
        .fetch_one(&self.pool)
        .await?)
    }
}

/// Reports whether an existing connection deploys to the target, by a deployment, a schedule or a push hook. The caller holds the target's lock.
pub async fn is_deployed_by_another(
    connection: &mut PgConnection,
    (account_id, region, ecr_repository): (&str, &str, &str),
    (owner, repo): (&str, &str),
) -> Result<bool, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT EXISTS (
             SELECT FROM deployments d JOIN aws_connections c ON c.id = d.aws_connection_id
             WHERE d.account_id = $1 AND d.region = $2 AND d.ecr_repository = $3 AND c.removed_at IS NULL
         ) OR EXISTS (
             SELECT FROM schedules s JOIN aws_connections c ON c.id = s.aws_connection_id
             WHERE c.account_id = $1 AND c.region = $2 AND c.removed_at IS NULL AND lower(s.owner) = lower($4) AND lower(s.repo) = lower($5)
         ) OR EXISTS (
             SELECT FROM push_hooks h, jsonb_array_elements(h.rules) AS rule JOIN aws_connections c ON c.id = rule ->> 'awsConnectionId'
             WHERE h.deleted_at IS NULL AND c.account_id = $1 AND c.region = $2 AND c.removed_at IS NULL
               AND lower(rule ->> 'owner') = lower($4) AND lower(rule ->> 'repo') = lower($5)
         ) AS \"deployed!\"",
        account_id,
        region,
        ecr_repository,
        owner,
        repo
    )
    .fetch_one(connection)
    .await?)
}
