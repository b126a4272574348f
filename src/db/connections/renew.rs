//! Connections that may be renewed.

use sqlx::PgConnection;

use super::update::GithubRow;
use crate::db::{Db, DbError};
use crate::domain::principal::Scope;

/// A connection to a source repository that may be renewed.
#[derive(Clone, Debug)]
pub struct GithubTarget {
    /// Account or organisation of the repository.
    pub owner: String,
    /// Repository name without the owner.
    pub repo: String,
    /// Branch checked with the new token.
    pub branch: String,
}

/// A connection to an AWS account that may be renewed.
#[derive(Clone, Debug)]
pub struct AwsTarget {
    /// AWS account id: twelve digits.
    pub account_id: String,
    /// AWS region, which a renewal does not change.
    pub region: String,
    /// Repositories that the connection serves.
    pub scope: Scope,
    /// ARN of the role; none for access keys.
    pub role_arn: Option<String>,
}

impl Db {
    /// Returns the present values of a connection to a source repository.
    pub async fn github_target(&self, id: &str) -> Result<Option<GithubTarget>, DbError> {
        let found = sqlx::query_as!(
            GithubTarget,
            "SELECT owner, repo, branch FROM github_connections WHERE id = $1 AND removed_at IS NULL",
            id
        );
        Ok(found.fetch_optional(&self.pool).await?)
    }

    /// Returns the present values of a connection to an AWS account.
    pub async fn aws_target(&self, id: &str) -> Result<Option<AwsTarget>, DbError> {
        let found = sqlx::query!(
            "SELECT account_id, region, scope, role_arn FROM aws_connections WHERE id = $1 AND removed_at IS NULL",
            id
        );
        Ok(found.fetch_optional(&self.pool).await?.map(|row| AwsTarget {
            account_id: row.account_id,
            region: row.region,
            scope: Scope::from_sql(row.scope),
            role_arn: row.role_arn,
        }))
    }

    /// Returns the row of a connection to a source repository with its data key.
    pub async fn github_row(&self, id: &str) -> Result<Option<GithubRow>, DbError> {
        let row = sqlx::query_as!(
            GithubRow,
            "SELECT id, key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM github_connections WHERE id = $1 AND removed_at IS NULL",
            id
        );
        Ok(row.fetch_optional(&self.pool).await?)
    }
}

/// Finds another connection of the same tenant with the same identity.
pub async fn identity_taken(
    connection: &mut PgConnection,
    id: &str,
    identity: &str,
) -> Result<Option<String>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT o.id FROM aws_connections c JOIN aws_connections o
             ON o.tenant = c.tenant AND o.account_id = c.account_id AND o.region = c.region AND o.identity = $2 AND o.id <> c.id
         WHERE c.id = $1 AND o.removed_at IS NULL LIMIT 1",
        id,
        identity
    )
    .fetch_optional(connection)
    .await?)
}
