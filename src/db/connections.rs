//! Connections to source repositories and AWS accounts. Secrets leave this module only inside `SecretString`.

use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;

use super::{Db, DbError};
use crate::domain::connection::{AwsConnection, AwsCredentials, AwsKeys, GithubConnection};

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
}

impl Db {
    /// Stores a connection to a source repository.
    pub async fn insert_github_connection(&self, connection: &GithubConnection) -> Result<(), DbError> {
        insert_github(&mut *self.pool.acquire().await?, connection).await
    }

    /// Stores a connection to an AWS account.
    pub async fn insert_aws_connection(&self, connection: &AwsConnection) -> Result<(), DbError> {
        insert_aws(&mut *self.pool.acquire().await?, connection).await
    }

    /// All connections to source repositories, oldest first.
    pub async fn github_connections(&self) -> Result<Vec<GithubSummary>, DbError> {
        Ok(sqlx::query_as!(
            GithubSummary,
            "SELECT id, owner, repo, branch FROM github_connections ORDER BY created_at, id"
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// All connections to AWS accounts, oldest first.
    pub async fn aws_connections(&self) -> Result<Vec<AwsSummary>, DbError> {
        Ok(sqlx::query_as!(AwsSummary, "SELECT id, region FROM aws_connections ORDER BY created_at, id")
            .fetch_all(&self.pool)
            .await?)
    }

    /// One connection to a source repository.
    pub async fn github_connection(&self, id: &str) -> Result<Option<GithubConnection>, DbError> {
        Ok(self.github_connections_of(&[id.to_owned()]).await?.pop())
    }

    /// One connection to an AWS account.
    pub async fn aws_connection(&self, id: &str) -> Result<Option<AwsConnection>, DbError> {
        Ok(self.aws_connections_of(&[id.to_owned()]).await?.pop())
    }

    /// Those connections to source repositories that are there.
    pub async fn github_connections_of(&self, ids: &[String]) -> Result<Vec<GithubConnection>, DbError> {
        let rows =
            sqlx::query!("SELECT id, owner, repo, branch, token FROM github_connections WHERE id = ANY ($1)", ids)
                .fetch_all(&self.pool)
                .await?;
        Ok(rows
            .into_iter()
            .map(|row| GithubConnection {
                id: row.id,
                owner: row.owner,
                repo: row.repo,
                branch: row.branch,
                token: SecretString::from(row.token),
            })
            .collect())
    }

    /// Those connections to AWS accounts that are there.
    ///
    /// # Errors
    /// [`DbError::Corrupt`] when one of them has no credentials.
    pub async fn aws_connections_of(&self, ids: &[String]) -> Result<Vec<AwsConnection>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, region, account_id, access_key_id, secret_access_key, session_token, role_arn, external_id
             FROM aws_connections WHERE id = ANY ($1)",
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let credentials = match (row.role_arn, row.access_key_id, row.secret_access_key) {
                    (Some(role_arn), ..) => {
                        AwsCredentials::Role { role_arn, external_id: row.external_id.map(SecretString::from) }
                    }
                    (None, Some(access_key_id), Some(secret)) => AwsCredentials::Keys(AwsKeys {
                        access_key_id,
                        secret_access_key: SecretString::from(secret),
                        session_token: row.session_token.map(SecretString::from),
                    }),
                    _ => {
                        let id = row.id;
                        return Err(DbError::Corrupt(format!("aws_connections {id} has neither keys nor a role")));
                    }
                };
                Ok(AwsConnection { id: row.id, region: row.region, account_id: row.account_id, credentials })
            })
            .collect()
    }
}

/// Within the caller's transaction.
pub(super) async fn insert_github(into: &mut PgConnection, connection: &GithubConnection) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO github_connections (id, owner, repo, branch, token) VALUES ($1, $2, $3, $4, $5)",
        connection.id,
        connection.owner,
        connection.repo,
        connection.branch,
        connection.token.expose_secret()
    )
    .execute(into)
    .await?;
    Ok(())
}

/// Within the caller's transaction.
pub(super) async fn insert_aws(into: &mut PgConnection, connection: &AwsConnection) -> Result<(), DbError> {
    let (keys, role) = match &connection.credentials {
        AwsCredentials::Keys(keys) => (Some(keys), None),
        AwsCredentials::Role { role_arn, external_id } => (None, Some((role_arn, external_id))),
    };
    sqlx::query!(
        "INSERT INTO aws_connections
            (id, region, account_id, access_key_id, secret_access_key, session_token, role_arn, external_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        connection.id,
        connection.region,
        connection.account_id,
        keys.map(|keys| keys.access_key_id.as_str()),
        keys.map(|keys| keys.secret_access_key.expose_secret()),
        keys.and_then(|keys| keys.session_token.as_ref()).map(ExposeSecret::expose_secret),
        role.map(|(arn, _)| arn.as_str()),
        role.and_then(|(_, id)| id.as_ref()).map(ExposeSecret::expose_secret),
    )
    .execute(into)
    .await?;
    Ok(())
}
