//! Apps that GitHub creates from Panda's manifest. Functions over a connection are statements of a command's transaction.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgConnection;

use super::encryption::GITHUB_APPS;
use super::schedules::token_of;
use super::{Db, DbError};
use crate::domain::app_manifest::{EXCHANGE_SECONDS, LIFETIME_SECONDS};
use crate::domain::keyring::RowKey;
use crate::domain::principal::Caller;
use crate::domain::tenant::github_tenant;
use crate::domain::token::SecretHash;

/// Column of the private key in its encryption context.
pub(super) const PRIVATE_KEY: &str = "private_key";

/// An App as it may be shown.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct GithubAppView {
    pub id: String,
    pub status: String,
    pub name: String,
    pub organization: Option<String>,
    pub push_hook_id: Option<String>,
    pub app_id: Option<String>,
    pub address: Option<String>,
    pub made_by: String,
    pub created_at: DateTime<Utc>,
}

/// Values of an App that is begun.
#[derive(Clone, Copy, Debug)]
pub struct NewGithubApp<'a> {
    /// Id of the App in Panda.
    pub id: &'a str,
    /// Name that is proposed to GitHub.
    pub name: &'a str,
    /// Organisation that will own it; none for the account of the person.
    pub organization: Option<&'a str>,
    /// Push hook that receives its events.
    pub push_hook: Option<&'a str>,
    /// Hash of the state that GitHub returns.
    pub state: &'a SecretHash,
}

/// An App that GitHub created, to be stored.
#[derive(Clone, Copy, Debug)]
pub struct ExchangedApp<'a> {
    /// Id of the App at GitHub.
    pub app_id: &'a str,
    /// Name that was chosen at GitHub.
    pub name: &'a str,
    /// Page of the App at GitHub.
    pub address: &'a str,
    /// PEM of the key that signs.
    pub private_key: &'a SecretString,
}

/// Selects a `GithubAppView` for each row that matches the condition, the oldest first.
macro_rules! views {
    ($condition:literal $(, $argument:expr)*) => {
        sqlx::query_as!(
            GithubAppView,
            "SELECT id, status, name, organization, push_hook_id, app_id, address, made_by, created_at FROM github_apps
             WHERE " + $condition + " ORDER BY created_at, id"
            $(, $argument)*
        )
    };
}

impl Db {
    /// Lists the Apps of the caller's scope that GitHub was asked for, the oldest first. Those that no code was returned for are left out.
    pub async fn github_apps(&self, by: &Caller) -> Result<Vec<GithubAppView>, DbError> {
        Ok(views!("tenant = $1 AND status <> 'begun'", github_tenant(by.scope())).fetch_all(&self.pool).await?)
    }

    /// Returns an App of the caller's scope.
    pub async fn github_app(&self, id: &str, by: &Caller) -> Result<Option<GithubAppView>, DbError> {
        Ok(views!("id = $1 AND tenant = $2", id, github_tenant(by.scope())).fetch_optional(&self.pool).await?)
    }

    /// Returns id and private key of an App of the caller's scope; none until GitHub has created it.
    pub async fn github_app_key(&self, id: &str, by: &Caller) -> Result<Option<(String, SecretString)>, DbError> {
        let row = sqlx::query!(
            "SELECT app_id AS \"app_id!\", key_id, wrapped_key, private_key_encrypted FROM github_apps
             WHERE id = $1 AND tenant = $2 AND status = 'created'",
            id,
            github_tenant(by.scope())
        );
        let Some(row) = row.fetch_optional(&self.pool).await? else { return Ok(None) };
        let decryptor = self.row_decryptor(GITHUB_APPS, id, row.key_id, row.wrapped_key).await?;
        let key = decryptor.secret(PRIVATE_KEY, row.private_key_encrypted)?;
        Ok(Some((row.app_id, key.ok_or_else(|| DbError::Corrupt(format!("App {id} has no private key")))?)))
    }

    /// Creates the data key of an App. Called before its transaction, because it may call a key service.
    pub async fn github_app_row_key(&self, id: &str) -> Result<RowKey, DbError> {
        Ok(self.keyring()?.new_row_key(GITHUB_APPS, id).await?)
    }
}

/// Deletes Apps that were not created within a day of their time, and counts the others. Concurrent creations wait for each other.
pub async fn clean_and_count(connection: &mut PgConnection) -> Result<i64, DbError> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('panda github apps', 0)) AS \"locked: _\"")
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "DELETE FROM github_apps
         WHERE (status = 'begun' AND expires_at < clock_timestamp())
            OR (status <> 'created' AND expires_at < clock_timestamp() - interval '1 day')"
    )
    .execute(&mut *connection)
    .await?;
    let count = sqlx::query_scalar!("SELECT count(*) AS \"count!\" FROM github_apps");
    Ok(count.fetch_one(connection).await?)
}

/// Stores that the caller has begun an App, and returns when its state ends.
pub async fn insert(
    connection: &mut PgConnection,
    new: &NewGithubApp<'_>,
    by: &Caller,
) -> Result<DateTime<Utc>, DbError> {
    let ends = sqlx::query_scalar!(
        "INSERT INTO github_apps (id, tenant, made_by, made_by_kind, made_by_token, name, organization, push_hook_id, state_hash, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp() + make_interval(secs => $10)) RETURNING expires_at",
        new.id,
        github_tenant(by.scope()),
        by.principal.subject,
        by.principal.kind.as_str(),
        token_of(by),
        new.name,
        new.organization,
        new.push_hook,
        new.state.bytes(),
        LIFETIME_SECONDS
    );
    Ok(ends.fetch_one(connection).await?)
}

/// Returns the App of the caller that has this state, unless another code was returned for it, and locks its row.
pub async fn lock_by_state(
    connection: &mut PgConnection,
    state: &SecretHash,
    code: &SecretHash,
    by: &Caller,
) -> Result<Option<GithubAppView>, DbError> {
    let found = views!(
        "id = (SELECT id FROM github_apps
               WHERE state_hash = $1 AND tenant = $2 AND made_by = $3 AND made_by_kind = $4 AND made_by_token IS NOT DISTINCT FROM $5
                 AND (code_hash = $6 OR (status = 'begun' AND expires_at > clock_timestamp()))
               FOR UPDATE)",
        state.bytes(),
        github_tenant(by.scope()),
        by.principal.subject,
        by.principal.kind.as_str(),
        token_of(by),
        code.bytes()
    );
    Ok(found.fetch_optional(connection).await?)
}

/// Stores that the code is sent to GitHub. False while another request sends it.
pub async fn begin_exchange(connection: &mut PgConnection, id: &str, code: &SecretHash) -> Result<bool, DbError> {
    let done = sqlx::query!(
        "UPDATE github_apps SET status = 'exchanging', code_hash = $2, exchange_until = clock_timestamp() + $3::integer * interval '1 second'
         WHERE id = $1 AND (status = 'begun' OR (status = 'exchanging' AND exchange_until < clock_timestamp()))",
        id,
        code.bytes(),
        i32::try_from(EXCHANGE_SECONDS).unwrap_or(i32::MAX)
    );
    Ok(done.execute(connection).await?.rows_affected() == 1)
}

/// Ends an exchange without a result: refused by GitHub, or to be repeated with the same code.
pub async fn end_exchange(
    connection: &mut PgConnection,
    id: &str,
    code: &SecretHash,
    is_refused: bool,
) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE github_apps SET status = CASE WHEN $3 THEN 'refused' ELSE status END, exchange_until = clock_timestamp()
         WHERE id = $1 AND status = 'exchanging' AND code_hash = $2",
        id,
        code.bytes(),
        is_refused
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores what GitHub created. False when the row was removed meanwhile.
pub async fn store(
    connection: &mut PgConnection,
    id: &str,
    key: &RowKey,
    app: &ExchangedApp<'_>,
) -> Result<bool, DbError> {
    let done = sqlx::query!(
        "UPDATE github_apps SET status = 'created', name = $2, app_id = $3, address = $4, key_id = $5, wrapped_key = $6, private_key_encrypted = $7
         WHERE id = $1 AND status IN ('exchanging', 'refused')",
        id,
        app.name,
        app.app_id,
        app.address,
        key.key_id.as_str(),
        key.wrapped.as_slice(),
        key.encrypt(PRIVATE_KEY, app.private_key)?
    );
    Ok(done.execute(connection).await?.rows_affected() == 1)
}

/// Returns an App of the caller's scope within its transaction, and locks its row.
pub async fn lock(connection: &mut PgConnection, id: &str, by: &Caller) -> Result<Option<GithubAppView>, DbError> {
    let found = views!(
        "id = (SELECT id FROM github_apps WHERE id = $1 AND tenant = $2 FOR UPDATE)",
        id,
        github_tenant(by.scope())
    );
    Ok(found.fetch_optional(connection).await?)
}

/// Deletes an App with its private key.
pub async fn delete(connection: &mut PgConnection, id: &str) -> Result<(), DbError> {
    sqlx::query!("DELETE FROM github_apps WHERE id = $1", id).execute(connection).await?;
    Ok(())
}
