//! Connecting: a new connection, or new credentials for the one that the same tenant has of the same branch or identity. Several requests at once
//! make one row: the unique indexes refuse a second one, and its request starts over and finds the row of the first.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::renew::{NewAws, update_aws, update_github};
use super::{AwsOwner, insert_aws, insert_github};
use crate::db::audit::{self, Entry};
use crate::db::idempotency::{IdempotencyKey, Once, keep, reserve};
use crate::db::sealed::{AWS, GITHUB};
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::connection::{AwsConnection, AwsCredentials, GithubConnection};
use crate::domain::principal::{Caller, Scope};
use crate::domain::tenant::{aws_tenant, github_tenant};

/// Times that a connection may be made or removed by others while it is connected.
const TRIES: u32 = 10;

/// A connection that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// `gh_…` or `aws_…`
    pub id: String,
    /// Whether it was there before.
    pub renewed: bool,
}

/// The row that a connection to a source repository renews.
pub(super) struct GithubRow {
    pub(super) id: String,
    pub(super) key_id: Option<String>,
    pub(super) wrapped_key: Option<Vec<u8>>,
}

impl Db {
    /// Stores a connection to a source repository, and `answer` for the key, in one transaction.
    pub async fn connect_github(
        &self,
        new: &GithubConnection,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: impl Fn(&Stored) -> Value,
    ) -> Result<Once<Stored>, DbError> {
        let key = self.keyed(key).await?;
        let tenant = github_tenant(by.scope());
        for _ in 0..TRIES {
            let known = self.github_row(&tenant, new).await?;
            // Before the transaction: a key service may have to be asked.
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
            keep(&mut tx, key.as_ref(), &answer(&stored)).await?;
            let details = json!({"branch": new.branch, "renewed": stored.renewed});
            let repository = Some((new.owner.as_str(), new.repo.as_str()));
            record(&mut tx, by, Action::ConnectGithub, &stored.id, repository, details).await?;
            tx.commit().await?;
            return Ok(Once::Now(stored));
        }
        Err(busy())
    }

    /// Stores a connection to an AWS account for the repositories of `scope`, and `answer` for the key, in one transaction. `identity` is whom the
    /// credentials stand for.
    pub async fn connect_aws(
        &self,
        new: &AwsConnection,
        identity: &str,
        scope: &Scope,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: impl Fn(&Stored) -> Value,
    ) -> Result<Once<Stored>, DbError> {
        let key = self.keyed(key).await?;
        let tenant = aws_tenant(by.scope(), scope);
        for _ in 0..TRIES {
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
            keep(&mut tx, key.as_ref(), &answer(&stored)).await?;
            let details = json!({
                "accountId": new.account_id, "region": new.region, "identity": identity, "repositories": scope.sql(),
                "renewed": stored.renewed,
            });
            record(&mut tx, by, Action::ConnectAws, &stored.id, None, details).await?;
            tx.commit().await?;
            return Ok(Once::Now(stored));
        }
        Err(busy())
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

    /// The data key that a renewed token is sealed with: the row's own, since build secrets are sealed with it too; a new one for a row from before
    /// secrets were sealed.
    pub(super) async fn key_of_github(&self, row: &GithubRow) -> Result<crate::domain::keyring::RowKey, DbError> {
        let keyring = self.keyring()?;
        Ok(match (&row.key_id, &row.wrapped_key) {
            (Some(key_id), Some(wrapped)) => keyring.row_key(GITHUB, &row.id, key_id, wrapped).await?,
            _ => keyring.new_row_key(GITHUB, &row.id).await?,
        })
    }

    /// The connection of the tenant with the same account, region and identity. One from before identities were stored is known by its key id.
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

/// Within the caller's transaction.
pub(super) async fn record(
    connection: &mut PgConnection,
    by: &Caller,
    action: Action,
    target: &str,
    repository: Option<(&str, &str)>,
    details: Value,
) -> Result<(), DbError> {
    audit::record(connection, &Entry { by, action, target: Some(target), repository, refused: None, details }).await
}

fn busy() -> DbError {
    DbError::Corrupt(format!("a connection was made or removed {TRIES} times while it was connected"))
}
