//! Connecting: stores a new connection, or new credentials for the same tenant's connection of the same branch or identity. Concurrent requests
//! make one row: the unique indexes refuse a second one, and its request starts over and finds the first one's row.

use serde_json::{Value, json};

use super::update::{GithubRow, NewAws, record, update_aws, update_github};
use super::{AwsOwner, insert_aws, insert_github};
use crate::db::encryption::AWS;
use crate::db::idempotency::{IdempotencyKey, Idempotent, reserve, store_answer};
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::connection::{AwsConnection, AwsCredentials, GithubConnection};
use crate::domain::principal::{Caller, Scope};
use crate::domain::tenant::{aws_tenant, github_tenant};

/// Tries while other requests create or delete the same connection concurrently.
const MAX_TRIES: u32 = 10;

/// A connection that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Connection id, with the prefix `gh_` or `aws_`.
    pub id: String,
    /// True if an existing connection was renewed.
    pub renewed: bool,
}

impl Db {
    /// Stores a connection to a source repository, and `answer` under the key, in one transaction.
    pub async fn connect_github(
        &self,
        new: &GithubConnection,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: impl Fn(&Stored) -> Value,
    ) -> Result<Idempotent<Stored>, DbError> {
        let key = self.keyed(key).await?;
        let tenant = github_tenant(by.scope());
        for _ in 0..MAX_TRIES {
            let known = self.github_row(&tenant, new).await?;
            // Before the transaction, because a key service may be called.
            let row_key = match &known {
                Some(row) => self.key_of_github(row).await?,
                None => self.github_row_key(new).await?,
            };
            let mut tx = self.pool.begin().await?;
            if let Some(before) = reserve(&mut tx, key.as_ref()).await? {
                return Ok(before);
            }
            let rows = match &known {
                Some(row) => update_github(&mut tx, row, &row_key, &new.token).await?,
                None => insert_github(&mut tx, &row_key, new, Some(&tenant)).await?,
            };
            if rows == 0 {
                continue;
            }
            let renewed = known.is_some();
            let stored = Stored { id: known.map_or_else(|| new.id.clone(), |row| row.id), renewed };
            store_answer(&mut tx, key.as_ref(), &answer(&stored)).await?;
            let details = json!({"branch": new.branch, "renewed": stored.renewed});
            let repository = Some((new.owner.as_str(), new.repo.as_str()));
            record(&mut tx, by, Action::ConnectGithub, &stored.id, repository, details).await?;
            tx.commit().await?;
            return Ok(Idempotent::Fresh(stored));
        }
        Err(contention())
    }

    /// Stores a connection to an AWS account for the repositories of `scope`, and `answer` under the key, in one transaction. `identity` is the AWS
    /// principal that the credentials belong to.
    pub async fn connect_aws(
        &self,
        new: &AwsConnection,
        identity: &str,
        scope: &Scope,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: impl Fn(&Stored) -> Value,
    ) -> Result<Idempotent<Stored>, DbError> {
        let key = self.keyed(key).await?;
        let tenant = aws_tenant(by.scope(), scope);
        for _ in 0..MAX_TRIES {
            let known = self.aws_row(&tenant, new, identity).await?;
            let id = known.as_ref().unwrap_or(&new.id);
            let row_key = self.keyring()?.new_row_key(AWS, id).await?;
            let mut tx = self.pool.begin().await?;
            if let Some(before) = reserve(&mut tx, key.as_ref()).await? {
                return Ok(before);
            }
            let rows = if let Some(id) = &known {
                let credentials = &new.credentials;
                update_aws(&mut tx, id, &row_key, NewAws { credentials, identity, tenant: None }).await?
            } else {
                let owner = AwsOwner { scope, tenant: Some(&tenant), identity: Some(identity) };
                insert_aws(&mut tx, &row_key, new, owner).await?
            };
            if rows == 0 {
                continue;
            }
            let stored = Stored { id: id.clone(), renewed: known.is_some() };
            store_answer(&mut tx, key.as_ref(), &answer(&stored)).await?;
            let details = json!({
                "accountId": new.account_id, "region": new.region, "identity": identity, "repositories": scope.sql(),
                "renewed": stored.renewed,
            });
            record(&mut tx, by, Action::ConnectAws, &stored.id, None, details).await?;
            tx.commit().await?;
            return Ok(Idempotent::Fresh(stored));
        }
        Err(contention())
    }

    async fn github_row(&self, tenant: &str, new: &GithubConnection) -> Result<Option<GithubRow>, DbError> {
        Ok(sqlx::query_as!(
            GithubRow,
            "SELECT id, key_id, wrapped_key FROM github_connections
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

    /// Finds the tenant's connection with the same account, region and identity. A connection from before identities were stored is recognised by its
    /// access key id.
    async fn aws_row(&self, tenant: &str, new: &AwsConnection, identity: &str) -> Result<Option<String>, DbError> {
        let key_id = match &new.credentials {
            AwsCredentials::Keys(keys) => Some(keys.access_key_id.as_str()),
            AwsCredentials::Role { .. } => None,
        };
        Ok(sqlx::query_scalar!(
            "SELECT id FROM aws_connections
             WHERE tenant = $1 AND account_id = $2 AND region = $3 AND (identity = $4 OR (identity IS NULL AND access_key_id = $5))
               AND removed_at IS NULL
             ORDER BY identity IS NULL, coalesce(renewed_at, created_at) DESC LIMIT 1",
            tenant,
            new.account_id,
            new.region,
            identity,
            key_id
        )
        .fetch_optional(&self.pool)
        .await?)
    }
}

fn contention() -> DbError {
    DbError::Corrupt(format!(
        "the same connection was created or deleted by other requests {MAX_TRIES} times meanwhile; retry the request"
    ))
}
