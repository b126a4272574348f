//! A tenant's connection of the same branch or identity.

use super::update::GithubRow;
use crate::db::{Db, DbError};
use crate::domain::connection::{AwsConnection, GithubConnection};

impl Db {
    /// Finds the tenant's connection of the same repository and branch.
    pub async fn same_github(&self, tenant: &str, new: &GithubConnection) -> Result<Option<GithubRow>, DbError> {
        Ok(sqlx::query_as!(
            GithubRow,
            "SELECT id, key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM github_connections
             WHERE tenant = $1 AND lower(owner COLLATE \"C\") = lower($2 COLLATE \"C\") AND lower(repo COLLATE \"C\") = lower($3 COLLATE \"C\")
               AND branch = $4 AND removed_at IS NULL",
            tenant,
            new.owner,
            new.repo,
            new.branch
        )
        .fetch_optional(&self.pool)
        .await?)
    }

    /// Finds the tenant's connection with the same account, region and identity.
    pub async fn same_aws(&self, tenant: &str, new: &AwsConnection, identity: &str) -> Result<Option<String>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT id FROM aws_connections
             WHERE tenant = $1 AND account_id = $2 AND region = $3 AND identity = $4 AND removed_at IS NULL",
            tenant,
            new.account_id,
            new.region,
            identity
        )
        .fetch_optional(&self.pool)
        .await?)
    }
}
