//! Renewal of a connection's credentials. The id stays, and a running deployment reads the connection again before it fails (`reconcile`).

use secrecy::SecretString;
use serde_json::json;
use sqlx::PgConnection;

use super::update::{GithubRow, NewAws, record, update_aws, update_github};
use crate::db::encryption::AWS;
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::connection::AwsCredentials;
use crate::domain::principal::{Caller, Scope};

/// Tries while the row changes concurrently: it is read again, and then shows the conflict.
const MAX_TRIES: u32 = 3;

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
    /// True if Panda derived the role's external id.
    pub external_id_derived: bool,
}

/// Outcome of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The new credentials are stored.
    Now,
    /// The connection does not exist in the caller's scope, or was deleted meanwhile.
    Unknown,
    /// The tenant has this other connection with the same identity.
    Taken(String),
}

impl Db {
    /// Finds a connection to a source repository that the caller may renew.
    pub async fn github_target(&self, id: &str, by: &Caller) -> Result<Option<GithubTarget>, DbError> {
        let found = sqlx::query_as!(
            GithubTarget,
            "SELECT owner, repo, branch FROM github_connections WHERE id = $1 AND removed_at IS NULL",
            id
        );
        let found = found.fetch_optional(&self.pool).await?;
        Ok(found.filter(|target| by.scope().holds(&target.owner, &target.repo)))
    }

    /// Finds a connection to an AWS account that the caller may renew: every repository that it serves must be in the caller's scope, as for
    /// deletion.
    pub async fn aws_target(&self, id: &str, by: &Caller) -> Result<Option<AwsTarget>, DbError> {
        let found = sqlx::query!(
            "SELECT account_id, region, scope, role_arn, external_id_derived FROM aws_connections WHERE id = $1 AND removed_at IS NULL",
            id
        );
        let found = found.fetch_optional(&self.pool).await?.map(|row| AwsTarget {
            account_id: row.account_id,
            region: row.region,
            scope: Scope::from_sql(row.scope),
            role_arn: row.role_arn,
            external_id_derived: row.external_id_derived,
        });
        Ok(found.filter(|target| by.scope().includes(&target.scope)))
    }

    /// Replaces the token of a connection to a source repository.
    pub async fn renew_github(&self, id: &str, token: &SecretString, by: &Caller) -> Result<Renewed, DbError> {
        for _ in 0..MAX_TRIES {
            let row = sqlx::query_as!(
                GithubRow,
                "SELECT id, key_id, wrapped_key FROM github_connections WHERE id = $1 AND removed_at IS NULL",
                id
            );
            let Some(row) = row.fetch_optional(&self.pool).await? else { break };
            let key = self.key_of_github(&row).await?;
            let Some(target) = self.github_target(id, by).await? else { break };
            let mut tx = self.pool.begin().await?;
            if update_github(&mut tx, &row, &key, token).await? == 0 {
                continue;
            }
            let repository = Some((target.owner.as_str(), target.repo.as_str()));
            record(&mut tx, by, Action::RenewConnection, id, repository, json!({"branch": target.branch})).await?;
            tx.commit().await?;
            return Ok(Renewed::Now);
        }
        Ok(Renewed::Unknown)
    }

    /// Replaces the credentials of a connection to an AWS account, and its tenant unless `tenant` is none.
    pub async fn renew_aws(
        &self,
        id: &str,
        credentials: &AwsCredentials,
        identity: &str,
        tenant: Option<&str>,
        by: &Caller,
    ) -> Result<Renewed, DbError> {
        let key = self.keyring()?.new_row_key(AWS, id).await?;
        for _ in 0..MAX_TRIES {
            let Some(target) = self.aws_target(id, by).await? else { break };
            let mut tx = self.pool.begin().await?;
            if let Some(other) = identity_taken(&mut tx, id, identity, tenant).await? {
                return Ok(Renewed::Taken(other));
            }
            if update_aws(&mut tx, id, &key, NewAws { credentials, identity, tenant }).await? == 0 {
                continue;
            }
            let details = json!({"accountId": target.account_id, "region": target.region, "identity": identity});
            record(&mut tx, by, Action::RenewConnection, id, None, details).await?;
            tx.commit().await?;
            return Ok(Renewed::Now);
        }
        Ok(Renewed::Unknown)
    }
}

/// Finds another connection of the same tenant with the same identity.
async fn identity_taken(
    connection: &mut PgConnection,
    id: &str,
    identity: &str,
    tenant: Option<&str>,
) -> Result<Option<String>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT o.id FROM aws_connections c JOIN aws_connections o
             ON o.tenant = coalesce($3, c.tenant) AND o.account_id = c.account_id AND o.region = c.region AND o.identity = $2 AND o.id <> c.id
         WHERE c.id = $1 AND o.removed_at IS NULL LIMIT 1",
        id,
        identity,
        tenant
    )
    .fetch_optional(connection)
    .await?)
}
