//! Connections to source repositories and AWS accounts. Their secrets are encrypted in the tables (`encryption`), and leave this module only inside
//! `SecretString`.

pub mod cleanup;
pub mod delete;
pub mod find;
pub mod hold;
pub mod renew;
pub mod update;

use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt as _};
use secrecy::SecretString;
use sqlx::PgConnection;

use super::build_secrets::decrypt;
use super::encryption::{AWS, GITHUB};
use super::{Db, DbError};
use crate::domain::connection::{AwsConnection, AwsCredentials, AwsKeys, GithubConnection};
use crate::domain::keyring::RowKey;
use crate::domain::principal::Scope;

/// Rows decrypted concurrently: a key service answers in milliseconds, and limits the rate of calls.
const CONCURRENCY: usize = 16;

/// A connection to a source repository as it may be shown.
#[derive(Clone, Debug)]
pub struct GithubSummary {
    /// Id of the connection to the source repository, with the prefix `gh_`.
    pub id: String,
    /// Account or organisation of the repository.
    pub owner: String,
    /// Repository name without the owner.
    pub repo: String,
    /// Branch checked when the connection was made.
    pub branch: String,
    /// Time at which it was connected or renewed.
    pub connected_at: DateTime<Utc>,
}

/// A connection to an AWS account as it may be shown.
#[derive(Clone, Debug)]
pub struct AwsSummary {
    /// Id of the connection to the AWS account, with the prefix `aws_`.
    pub id: String,
    /// AWS region, such as `ap-northeast-2`.
    pub region: String,
    /// AWS account, twelve digits.
    pub account_id: String,
    /// Role that Panda assumes; none for access keys.
    pub role_arn: Option<String>,
    /// Repositories that the connection serves; none for all.
    pub scope: Option<Vec<String>>,
    /// Role that EventBridge assumes for the target of the account's rules; none for the server's setting.
    pub rule_target_role_arn: Option<String>,
    /// Time at which it was connected or renewed.
    pub connected_at: DateTime<Utc>,
}

impl Db {
    /// Stores a connection to a source repository without a tenant, which no request can renew.
    pub async fn insert_github_connection(&self, connection: &GithubConnection) -> Result<(), DbError> {
        let key = self.github_row_key(connection).await?;
        insert_github(&mut *self.pool.acquire().await?, &key, connection, None).await.map(drop)
    }

    /// Stores a connection to an AWS account for all repositories without a tenant, which no request can renew.
    pub async fn insert_aws_connection(&self, connection: &AwsConnection) -> Result<(), DbError> {
        let key = self.aws_row_key(&connection.id).await?;
        let owner = AwsOwner { scope: &Scope::All, tenant: None, identity: None };
        insert_aws(&mut *self.pool.acquire().await?, &key, connection, owner).await.map(drop)
    }

    /// Creates the data key of a new row. Called before its transaction, because it may call a key service.
    pub async fn github_row_key(&self, connection: &GithubConnection) -> Result<RowKey, DbError> {
        Ok(self.keyring()?.new_row_key(GITHUB, &connection.id).await?)
    }

    /// Creates the data key of new credentials, as [`Self::github_row_key`] does.
    pub async fn aws_row_key(&self, id: &str) -> Result<RowKey, DbError> {
        Ok(self.keyring()?.new_row_key(AWS, id).await?)
    }

    /// Lists the connections to source repositories in the scope, the last connected or renewed first.
    pub async fn github_connections(&self, scope: &Scope) -> Result<Vec<GithubSummary>, DbError> {
        Ok(sqlx::query_as!(
            GithubSummary,
            "SELECT id, owner, repo, branch, coalesce(renewed_at, created_at) AS \"connected_at!\" FROM github_connections
             WHERE removed_at IS NULL AND in_scope(owner, repo, $1) ORDER BY coalesce(renewed_at, created_at) DESC, id",
            scope.sql()
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Lists the connections to AWS accounts for a repository in the scope, the last connected or renewed first. Connections for all repositories are
    /// hidden from callers that see only some.
    pub async fn aws_connections(&self, scope: &Scope) -> Result<Vec<AwsSummary>, DbError> {
        Ok(sqlx::query_as!(
            AwsSummary,
            "SELECT id, region, account_id, role_arn, scope, rule_target_role_arn, coalesce(renewed_at, created_at) AS \"connected_at!\"
             FROM aws_connections c
             WHERE removed_at IS NULL AND ($1::text[] IS NULL OR EXISTS (
                 SELECT FROM unnest(c.scope) AS its, unnest($1::text[]) AS mine
                 WHERE its = mine
                    OR (split_part(its, '/', 1) = split_part(mine, '/', 1) AND '*' IN (split_part(its, '/', 2), split_part(mine, '/', 2)))))
             ORDER BY coalesce(renewed_at, created_at) DESC, id",
            scope.sql()
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Lists those of `ids` whose credentials AWS has rejected, so that an unfinished deployment waits for their renewal.
    pub async fn connections_awaiting_renewal(&self, ids: &[String]) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT DISTINCT aws_connection_id FROM deployments
             WHERE aws_connection_id = ANY ($1) AND status IN ('RUNNING', 'DEPLOYMENT_READY') AND facts @> '{\"awaits_renewal\": true}'",
            ids
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Reports that a caller with `scope` may deploy the repository with a connection to an AWS account. False when the connection does not exist.
    pub async fn is_aws_connection_for(
        &self,
        id: &str,
        scope: &Scope,
        owner: &str,
        repo: &str,
    ) -> Result<bool, DbError> {
        let found = sqlx::query_scalar!(
            "SELECT id FROM aws_connections
             WHERE id = $1 AND removed_at IS NULL AND in_scope($2, $3, scope) AND ($4::text[] IS NULL OR scope IS NOT NULL)",
            id,
            owner,
            repo,
            scope.sql()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.is_some())
    }

    /// Loads one connection to a source repository, as [`Self::github_connections_of`] does.
    pub async fn github_connection(&self, id: &str) -> Result<Option<GithubConnection>, DbError> {
        self.github_connections_of(&[id.to_owned()]).await?.pop().transpose()
    }

    /// Loads one connection to an AWS account, as [`Self::aws_connections_of`] does.
    pub async fn aws_connection(&self, id: &str) -> Result<Option<AwsConnection>, DbError> {
        self.aws_connections_of(&[id.to_owned()]).await?.pop().transpose()
    }

    /// Loads those connections to source repositories that exist, each with its error: [`DbError::Key`] when its secret cannot be decrypted. One
    /// broken connection must not block the others.
    pub async fn github_connections_of(
        &self,
        ids: &[String],
    ) -> Result<Vec<Result<GithubConnection, DbError>>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, owner, repo, branch, key_id, wrapped_key, token_encrypted
             FROM github_connections WHERE id = ANY ($1) AND removed_at IS NULL",
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        let mut secrets = self.encrypted_build_secrets(ids).await?;
        let rows: Vec<_> = rows.into_iter().map(|row| (secrets.of(&row.id), row)).collect();
        let decrypted = rows.into_iter().map(|(secrets, row)| async move {
            let decryptor = self.row_decryptor(GITHUB, &row.id, row.key_id, row.wrapped_key).await?;
            let build_secrets = decrypt(secrets, &row.id, &decryptor)?;
            let token = decryptor.secret("token", row.token_encrypted)?;
            let token = token.ok_or_else(|| DbError::Corrupt(format!("{GITHUB} {} has no token", row.id)))?;
            Ok(GithubConnection {
                id: row.id,
                owner: row.owner,
                repo: row.repo,
                branch: row.branch,
                token,
                build_secrets,
            })
        });
        Ok(stream::iter(decrypted).buffered(CONCURRENCY).collect().await)
    }

    /// Loads those connections to AWS accounts that exist, each with its error: [`DbError::Corrupt`] when it has no credentials, [`DbError::Key`]
    /// when a secret cannot be decrypted.
    pub async fn aws_connections_of(&self, ids: &[String]) -> Result<Vec<Result<AwsConnection, DbError>>, DbError> {
        self.read_aws(ids, false).await
    }

    /// Loads connections to AWS accounts that were removed, or those that were not.
    async fn read_aws(&self, ids: &[String], removed: bool) -> Result<Vec<Result<AwsConnection, DbError>>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, region, account_id, access_key_id, role_arn, rule_target_role_arn, key_id, wrapped_key,
                    secret_access_key_encrypted, session_token_encrypted, external_id_encrypted
             FROM aws_connections WHERE id = ANY ($1) AND (removed_at IS NOT NULL) = $2",
            ids,
            removed
        )
        .fetch_all(&self.pool)
        .await?;
        let decrypted = rows.into_iter().map(|row| async move {
            let decryptor = self.row_decryptor(AWS, &row.id, row.key_id, row.wrapped_key).await?;
            let secret = decryptor.secret("secret_access_key", row.secret_access_key_encrypted)?;
            let external_id = decryptor.secret("external_id", row.external_id_encrypted)?;
            let credentials = match (row.role_arn, row.access_key_id, secret, external_id) {
                (Some(role_arn), None, None, Some(external_id)) => AwsCredentials::Role { role_arn, external_id },
                (None, Some(access_key_id), Some(secret_access_key), None) => AwsCredentials::Keys(AwsKeys {
                    access_key_id,
                    secret_access_key,
                    session_token: decryptor.secret("session_token", row.session_token_encrypted)?,
                }),
                _ => return Err(DbError::Corrupt(format!("{AWS} {} has neither keys nor a role", row.id))),
            };
            Ok(AwsConnection {
                id: row.id,
                region: row.region,
                account_id: row.account_id,
                credentials,
                rule_target_role_arn: row.rule_target_role_arn,
            })
        });
        Ok(stream::iter(decrypted).buffered(CONCURRENCY).collect().await)
    }
}

/// Owner of a connection to an AWS account.
#[derive(Clone, Copy, Debug)]
pub struct AwsOwner<'a> {
    /// Repositories that the connection serves.
    pub scope: &'a Scope,
    /// Identifier of the tenant; none for a connection that no request renews.
    pub tenant: Option<&'a str>,
    /// AWS principal that the credentials belong to.
    pub identity: Option<&'a str>,
}

/// Inserts a row within the caller's transaction and returns the number of rows: 0 when the tenant has the same connection already.
pub async fn insert_github(
    into: &mut PgConnection,
    key: &RowKey,
    connection: &GithubConnection,
    tenant: Option<&str>,
) -> Result<u64, DbError> {
    let done = sqlx::query!(
        "INSERT INTO github_connections (id, owner, repo, branch, key_id, wrapped_key, token_encrypted, tenant, renewed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8,
                 greatest(clock_timestamp(), (SELECT max(coalesce(renewed_at, created_at)) + interval '1 microsecond' FROM github_connections)))
         ON CONFLICT DO NOTHING",
        connection.id,
        connection.owner,
        connection.repo,
        connection.branch,
        key.key_id.as_str(),
        key.wrapped.as_slice(),
        key.encrypt("token", &connection.token)?,
        tenant
    )
    .execute(into)
    .await?;
    Ok(done.rows_affected())
}

/// Inserts a row as [`insert_github`] does.
pub async fn insert_aws(
    into: &mut PgConnection,
    key: &RowKey,
    connection: &AwsConnection,
    owner: AwsOwner<'_>,
) -> Result<u64, DbError> {
    let columns = CredentialColumns::of(key, &connection.credentials)?;
    let done = sqlx::query!(
        "INSERT INTO aws_connections (id, region, account_id, access_key_id, role_arn, key_id, wrapped_key, secret_access_key_encrypted,
                                      session_token_encrypted, external_id_encrypted, scope, tenant, identity, rule_target_role_arn, renewed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
                 greatest(clock_timestamp(), (SELECT max(coalesce(renewed_at, created_at)) + interval '1 microsecond' FROM aws_connections)))
         ON CONFLICT DO NOTHING",
        connection.id,
        connection.region,
        connection.account_id,
        columns.access_key_id,
        columns.role_arn,
        key.key_id.as_str(),
        key.wrapped.as_slice(),
        columns.secret_access_key,
        columns.session_token,
        columns.external_id,
        owner.scope.sql(),
        owner.tenant,
        owner.identity,
        connection.rule_target_role_arn
    )
    .execute(into)
    .await?;
    Ok(done.rows_affected())
}

/// Credentials in the form of their columns.
pub(super) struct CredentialColumns<'a> {
    pub(super) access_key_id: Option<&'a str>,
    pub(super) role_arn: Option<&'a str>,
    pub(super) secret_access_key: Option<Vec<u8>>,
    pub(super) session_token: Option<Vec<u8>>,
    pub(super) external_id: Option<Vec<u8>>,
}

impl<'a> CredentialColumns<'a> {
    pub(super) fn of(key: &RowKey, credentials: &'a AwsCredentials) -> Result<Self, DbError> {
        let (keys, role) = match credentials {
            AwsCredentials::Keys(keys) => (Some(keys), None),
            AwsCredentials::Role { role_arn, external_id } => (None, Some((role_arn, external_id))),
        };
        let encrypt =
            |column, secret: Option<&SecretString>| secret.map(|secret| key.encrypt(column, secret)).transpose();
        Ok(Self {
            access_key_id: keys.map(|keys| keys.access_key_id.as_str()),
            role_arn: role.map(|(arn, _)| arn.as_str()),
            secret_access_key: encrypt("secret_access_key", keys.map(|keys| &keys.secret_access_key))?,
            session_token: encrypt("session_token", keys.and_then(|keys| keys.session_token.as_ref()))?,
            external_id: encrypt("external_id", role.map(|(_, id)| id))?,
        })
    }
}
