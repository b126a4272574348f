//! Connections to source repositories and AWS accounts. Their secrets are sealed in the tables (`sealed`), and leave this module only
//! inside `SecretString`.

pub mod connect;
pub mod renew;

use futures_util::stream::{self, StreamExt as _};
use secrecy::SecretString;
use sqlx::PgConnection;

use super::build_secrets::open;
use super::sealed::{AWS, GITHUB};
use super::{Db, DbError};
use crate::domain::connection::{AwsConnection, AwsCredentials, AwsKeys, GithubConnection};
use crate::domain::keyring::RowKey;
use crate::domain::principal::Scope;

/// Rows that are opened at once: a key service answers in milliseconds, and has a limit of calls.
const AT_ONCE: usize = 16;

/// A connection to a source repository as it may be shown.
#[derive(Clone, Debug)]
pub struct GithubSummary {
    /// `gh_…`
    pub id: String,
    /// Account or organisation.
    pub owner: String,
    /// Repository.
    pub repo: String,
    /// Branch that was checked.
    pub branch: String,
}

/// A connection to an AWS account as it may be shown.
#[derive(Clone, Debug)]
pub struct AwsSummary {
    /// `aws_…`
    pub id: String,
    /// Region.
    pub region: String,
    /// Whether it starts no new deployment until it is connected again: a role whose external id the caller chose.
    pub is_outdated: bool,
}

impl Db {
    /// Stores a connection to a source repository that no request renews.
    pub async fn insert_github_connection(&self, connection: &GithubConnection) -> Result<(), DbError> {
        let key = self.github_row_key(connection).await?;
        insert_github(&mut *self.pool.acquire().await?, &key, connection, None).await.map(drop)
    }

    /// Stores a connection to an AWS account that no request renews, for all repositories.
    pub async fn insert_aws_connection(&self, connection: &AwsConnection) -> Result<(), DbError> {
        let key = self.aws_row_key(connection).await?;
        let owner = AwsOwner { scope: &Scope::All, tenant: None, identity: None };
        insert_aws(&mut *self.pool.acquire().await?, &key, connection, owner).await.map(drop)
    }

    /// The data key of a new row. Before its transaction: a key service may have to be asked.
    pub(super) async fn github_row_key(&self, connection: &GithubConnection) -> Result<RowKey, DbError> {
        Ok(self.keyring()?.new_row_key(GITHUB, &connection.id).await?)
    }

    /// As [`Self::github_row_key`].
    pub(super) async fn aws_row_key(&self, connection: &AwsConnection) -> Result<RowKey, DbError> {
        Ok(self.keyring()?.new_row_key(AWS, &connection.id).await?)
    }

    /// All connections to source repositories in the scope, the one connected or renewed last first.
    pub async fn github_connections(&self, scope: &Scope) -> Result<Vec<GithubSummary>, DbError> {
        Ok(sqlx::query_as!(
            GithubSummary,
            "SELECT id, owner, repo, branch FROM github_connections
             WHERE removed_at IS NULL AND in_scope(owner, repo, $1) ORDER BY coalesce(renewed_at, created_at) DESC, id",
            scope.sql()
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// All connections to AWS accounts that are for a repository in the scope, the one connected or renewed last first. One that is for
    /// all repositories is not for those who see some.
    pub async fn aws_connections(&self, scope: &Scope) -> Result<Vec<AwsSummary>, DbError> {
        Ok(sqlx::query_as!(
            AwsSummary,
            "SELECT id, region, role_arn IS NOT NULL AND NOT external_id_derived AS \"is_outdated!\" FROM aws_connections c
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

    /// Whether somebody who sees `scope` may deploy the repository with a connection to an AWS account. Not when it is not there.
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

    /// One connection to a source repository.
    pub async fn github_connection(&self, id: &str) -> Result<Option<GithubConnection>, DbError> {
        self.github_connections_of(&[id.to_owned()]).await?.pop().transpose()
    }

    /// One connection to an AWS account.
    pub async fn aws_connection(&self, id: &str) -> Result<Option<AwsConnection>, DbError> {
        self.aws_connections_of(&[id.to_owned()]).await?.pop().transpose()
    }

    /// Those connections to source repositories that are there, each with what is wrong with it: [`DbError::Key`] when its secret cannot
    /// be opened. One that is broken must not keep the others from anybody.
    pub async fn github_connections_of(
        &self,
        ids: &[String],
    ) -> Result<Vec<Result<GithubConnection, DbError>>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, owner, repo, branch, token, key_id, wrapped_key, token_sealed
             FROM github_connections WHERE id = ANY ($1) AND removed_at IS NULL",
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        let mut secrets = self.sealed_build_secrets(ids).await?;
        let rows: Vec<_> = rows.into_iter().map(|row| (secrets.of(&row.id), row)).collect();
        let opened = rows.into_iter().map(|(secrets, row)| async move {
            let sealed = self.sealed(GITHUB, &row.id, row.key_id, row.wrapped_key).await?;
            let build_secrets = open(secrets, &row.id, &sealed)?;
            let token = sealed.secret("token", row.token, row.token_sealed)?;
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
        Ok(stream::iter(opened).buffered(AT_ONCE).collect().await)
    }

    /// Those connections to AWS accounts that are there, each with what is wrong with it: [`DbError::Corrupt`] when it has no credentials,
    /// [`DbError::Key`] when a secret cannot be opened.
    pub async fn aws_connections_of(&self, ids: &[String]) -> Result<Vec<Result<AwsConnection, DbError>>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, region, account_id, access_key_id, secret_access_key, session_token, role_arn, external_id, key_id,
                    wrapped_key, secret_access_key_sealed, session_token_sealed, external_id_sealed
             FROM aws_connections WHERE id = ANY ($1) AND removed_at IS NULL",
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        let opened = rows.into_iter().map(|row| async move {
            let sealed = self.sealed(AWS, &row.id, row.key_id, row.wrapped_key).await?;
            let secret = sealed.secret("secret_access_key", row.secret_access_key, row.secret_access_key_sealed)?;
            let credentials = match (row.role_arn, row.access_key_id, secret) {
                (Some(role_arn), ..) => AwsCredentials::Role {
                    role_arn,
                    external_id: sealed.secret("external_id", row.external_id, row.external_id_sealed)?,
                },
                (None, Some(access_key_id), Some(secret_access_key)) => AwsCredentials::Keys(AwsKeys {
                    access_key_id,
                    secret_access_key,
                    session_token: sealed.secret("session_token", row.session_token, row.session_token_sealed)?,
                }),
                _ => return Err(DbError::Corrupt(format!("{AWS} {} has neither keys nor a role", row.id))),
            };
            Ok(AwsConnection { id: row.id, region: row.region, account_id: row.account_id, credentials })
        });
        Ok(stream::iter(opened).buffered(AT_ONCE).collect().await)
    }
}

/// Whose a connection to an AWS account is.
#[derive(Clone, Copy)]
pub(super) struct AwsOwner<'a> {
    /// The repositories that it is for.
    pub(super) scope: &'a Scope,
    /// The mark of the tenant; none for one that no request renews.
    pub(super) tenant: Option<&'a str>,
    /// Whom the credentials stand for.
    pub(super) identity: Option<&'a str>,
}

/// Within the caller's transaction; how many rows: none when the tenant has the same connection already.
pub(super) async fn insert_github(
    into: &mut PgConnection,
    key: &RowKey,
    connection: &GithubConnection,
    tenant: Option<&str>,
) -> Result<u64, DbError> {
    let done = sqlx::query!(
        "INSERT INTO github_connections (id, owner, repo, branch, key_id, wrapped_key, token_sealed, tenant, renewed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8,
                 greatest(clock_timestamp(), (SELECT max(coalesce(renewed_at, created_at)) + interval '1 microsecond' FROM github_connections)))
         ON CONFLICT DO NOTHING",
        connection.id,
        connection.owner,
        connection.repo,
        connection.branch,
        key.key_id.as_str(),
        key.wrapped.as_slice(),
        key.seal("token", &connection.token)?,
        tenant
    )
    .execute(into)
    .await?;
    Ok(done.rows_affected())
}

/// As [`insert_github`]. A role's external id counts as derived: no other way leads here.
pub(super) async fn insert_aws(
    into: &mut PgConnection,
    key: &RowKey,
    connection: &AwsConnection,
    owner: AwsOwner<'_>,
) -> Result<u64, DbError> {
    let parts = Parts::of(key, &connection.credentials)?;
    let done = sqlx::query!(
        "INSERT INTO aws_connections (id, region, account_id, access_key_id, role_arn, key_id, wrapped_key, secret_access_key_sealed,
                                      session_token_sealed, external_id_sealed, scope, tenant, identity, external_id_derived, renewed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $5::text IS NOT NULL,
                 greatest(clock_timestamp(), (SELECT max(coalesce(renewed_at, created_at)) + interval '1 microsecond' FROM aws_connections)))
         ON CONFLICT DO NOTHING",
        connection.id,
        connection.region,
        connection.account_id,
        parts.access_key_id,
        parts.role_arn,
        key.key_id.as_str(),
        key.wrapped.as_slice(),
        parts.secret_access_key,
        parts.session_token,
        parts.external_id,
        owner.scope.sql(),
        owner.tenant,
        owner.identity
    )
    .execute(into)
    .await?;
    Ok(done.rows_affected())
}

/// Credentials as the columns have them.
pub(super) struct Parts<'a> {
    pub(super) access_key_id: Option<&'a str>,
    pub(super) role_arn: Option<&'a str>,
    pub(super) secret_access_key: Option<Vec<u8>>,
    pub(super) session_token: Option<Vec<u8>>,
    pub(super) external_id: Option<Vec<u8>>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(key: &RowKey, credentials: &'a AwsCredentials) -> Result<Self, DbError> {
        let (keys, role) = match credentials {
            AwsCredentials::Keys(keys) => (Some(keys), None),
            AwsCredentials::Role { role_arn, external_id } => (None, Some((role_arn, external_id))),
        };
        let seal = |column, secret: Option<&SecretString>| secret.map(|secret| key.seal(column, secret)).transpose();
        Ok(Self {
            access_key_id: keys.map(|keys| keys.access_key_id.as_str()),
            role_arn: role.map(|(arn, _)| arn.as_str()),
            secret_access_key: seal("secret_access_key", keys.map(|keys| &keys.secret_access_key))?,
            session_token: seal("session_token", keys.and_then(|keys| keys.session_token.as_ref()))?,
            external_id: seal("external_id", role.and_then(|(_, id)| id.as_ref()))?,
        })
    }
}
