//! New credentials for a connection that is there: the id stays, and a running deployment reads the connection again before it fails (`reconcile`).

use secrecy::SecretString;
use serde_json::json;
use sqlx::PgConnection;

use super::Parts;
use super::connect::{GithubRow, record};
use crate::db::sealed::AWS;
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::connection::AwsCredentials;
use crate::domain::keyring::RowKey;
use crate::domain::principal::{Caller, Scope};

/// Times that a row may change while it is renewed: it is read again, and then says what is in the way.
const TRIES: u32 = 3;

/// A connection to a source repository that may be renewed.
#[derive(Clone, Debug)]
pub struct GithubTarget {
    /// Account or organisation.
    pub owner: String,
    /// Repository.
    pub repo: String,
    /// Branch.
    pub branch: String,
}

/// A connection to an AWS account that may be renewed.
#[derive(Clone, Debug)]
pub struct AwsTarget {
    /// Twelve digits.
    pub account_id: String,
    /// Region.
    pub region: String,
    /// The repositories that it is for.
    pub scope: Scope,
    /// The role, when it is one.
    pub role_arn: Option<String>,
    /// Whether the role's external id was derived.
    pub external_id_derived: bool,
}

/// What becomes of new credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// They are stored.
    Now,
    /// There is no such connection for the caller, or not any more.
    Unknown,
    /// The tenant has another connection with this identity.
    Taken(String),
}

/// What a connection to an AWS account is renewed with.
pub(super) struct NewAws<'a> {
    pub(super) credentials: &'a AwsCredentials,
    /// Whom they stand for.
    pub(super) identity: &'a str,
    /// The mark of the tenant from now on; none to leave it.
    pub(super) tenant: Option<&'a str>,
}

impl Db {
    /// The connection to a source repository that the caller may renew.
    pub async fn github_target(&self, id: &str, by: &Caller) -> Result<Option<GithubTarget>, DbError> {
        let found = sqlx::query_as!(
            GithubTarget,
            "SELECT owner, repo, branch FROM github_connections WHERE id = $1 AND removed_at IS NULL",
            id
        );
        let found = found.fetch_optional(&self.pool).await?;
        Ok(found.filter(|target| by.scope().holds(&target.owner, &target.repo)))
    }

    /// The connection to an AWS account that the caller may renew: all that it is for is theirs, as for removing it.
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

    /// Gives a connection to a source repository another token.
    pub async fn renew_github(&self, id: &str, token: &SecretString, by: &Caller) -> Result<Renewed, DbError> {
        for _ in 0..TRIES {
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

    /// Gives a connection to an AWS account other credentials. `tenant` becomes whose it is, where that is to change.
    pub async fn renew_aws(
        &self,
        id: &str,
        credentials: &AwsCredentials,
        identity: &str,
        tenant: Option<&str>,
        by: &Caller,
    ) -> Result<Renewed, DbError> {
        let key = self.keyring()?.new_row_key(AWS, id).await?;
        for _ in 0..TRIES {
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

/// The other connection of the same tenant with the same identity.
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

/// Within the caller's transaction; how many rows: none when the row was removed, or sealed, since it was read. Rotation may have wrapped the
/// data key again: it is the same key, and stays as it is.
pub(super) async fn update_github(
    connection: &mut PgConnection,
    row: &GithubRow,
    key: &RowKey,
    token: &SecretString,
) -> Result<u64, DbError> {
    let done = sqlx::query!(
        "UPDATE github_connections
         SET token = NULL, token_sealed = $2, key_id = coalesce(key_id, $3), wrapped_key = coalesce(wrapped_key, $4),
             renewed_at = greatest(clock_timestamp(),
                                   (SELECT max(coalesce(renewed_at, created_at)) + interval '1 microsecond' FROM github_connections))
         WHERE id = $1 AND removed_at IS NULL AND (wrapped_key IS NULL) = $5",
        row.id,
        key.seal("token", token)?,
        key.key_id,
        key.wrapped,
        row.wrapped_key.is_none()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// As [`update_github`], with a data key of its own: nothing else is sealed with the old one. None as well when another row has the identity.
pub(super) async fn update_aws(
    connection: &mut PgConnection,
    id: &str,
    key: &RowKey,
    new: NewAws<'_>,
) -> Result<u64, DbError> {
    let parts = Parts::of(key, new.credentials)?;
    let done = sqlx::query!(
        "UPDATE aws_connections
         SET access_key_id = $2, role_arn = $3, key_id = $4, wrapped_key = $5, secret_access_key_sealed = $6, session_token_sealed = $7,
             external_id_sealed = $8, secret_access_key = NULL, session_token = NULL, external_id = NULL, identity = $9,
             tenant = coalesce($10, tenant), external_id_derived = $3::text IS NOT NULL,
             renewed_at = greatest(clock_timestamp(),
                                   (SELECT max(coalesce(renewed_at, created_at)) + interval '1 microsecond' FROM aws_connections))
         WHERE id = $1 AND removed_at IS NULL AND (role_arn IS NULL) = ($3::text IS NULL)",
        id,
        parts.access_key_id,
        parts.role_arn,
        key.key_id,
        key.wrapped,
        parts.secret_access_key,
        parts.session_token,
        parts.external_id,
        new.identity,
        new.tenant
    )
    .execute(connection)
    .await;
    match done {
        Ok(done) => Ok(done.rows_affected()),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(0),
        Err(error) => Err(error.into()),
    }
}
