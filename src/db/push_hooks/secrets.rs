//! Secrets of push hooks.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgConnection;

use crate::db::encryption::PUSH_HOOKS;
use crate::db::{Db, DbError};
use crate::domain::keyring::RowKey;
use crate::domain::push_hook::signature::PushSecret;

/// Secrets of a push hook that may verify a signature.
#[derive(Clone, Debug)]
pub struct ReceivingHook {
    /// Secrets that have not expired, the newest first.
    pub secrets: Vec<PushSecret>,
    /// Time by the database's clock.
    pub now: DateTime<Utc>,
}

/// Column of a secret in its encryption context (AAD), so that values cannot be exchanged within the database.
pub(in crate::db) fn column(number: i32) -> String {
    format!("secret:{number}")
}

impl Db {
    /// Creates the data key of a new push hook. Called before its transaction, because it may call a key service.
    pub async fn push_hook_row_key(&self, id: &str) -> Result<RowKey, DbError> {
        Ok(self.keyring()?.new_row_key(PUSH_HOOKS, id).await?)
    }

    /// Returns the data key of a push hook; none when it does not exist.
    pub async fn stored_push_hook_key(&self, id: &str) -> Result<Option<RowKey>, DbError> {
        let row = sqlx::query!(
            "SELECT key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM push_hooks WHERE id = $1 AND deleted_at IS NULL",
            id
        );
        let Some(row) = row.fetch_optional(&self.pool).await? else { return Ok(None) };
        Ok(Some(self.keyring()?.row_key(PUSH_HOOKS, id, &row.key_id, &row.wrapped_key).await?))
    }

    /// Returns the decrypted secrets of a push hook; none when it does not exist.
    pub async fn receiving_hook(&self, id: &str) -> Result<Option<ReceivingHook>, DbError> {
        let rows = sqlx::query!(
            "SELECT h.key_id AS \"key_id!\", h.wrapped_key AS \"wrapped_key!\", s.number, s.value_encrypted, s.expires_at,
                    clock_timestamp() AS \"now!\"
             FROM push_hooks h JOIN push_hook_secrets s ON s.hook_id = h.id
             WHERE h.id = $1 AND h.deleted_at IS NULL AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp())
             ORDER BY s.number DESC",
            id
        )
        .fetch_all(&self.pool)
        .await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let (key, now) = (self.keyring()?.row_key(PUSH_HOOKS, id, &first.key_id, &first.wrapped_key).await?, first.now);
        let mut secrets = Vec::with_capacity(rows.len());
        for row in &rows {
            let text = key.decrypt(&column(row.number), &row.value_encrypted)?;
            secrets.push(PushSecret::new(&text, row.expires_at));
        }
        Ok(Some(ReceivingHook { secrets, now }))
    }
}

/// Stores a new secret, and ends those before it in `hours` at the latest. Expired ones are deleted.
pub async fn rotate(
    connection: &mut PgConnection,
    id: &str,
    (key, secret): (&RowKey, &SecretString),
    hours: i64,
) -> Result<(), DbError> {
    sqlx::query!("DELETE FROM push_hook_secrets WHERE hook_id = $1 AND expires_at <= clock_timestamp()", id)
        .execute(&mut *connection)
        .await?;
    let newest = sqlx::query_scalar!("SELECT max(number) FROM push_hook_secrets WHERE hook_id = $1", id)
        .fetch_one(&mut *connection)
        .await?;
    let number = newest.unwrap_or(0) + 1;
    sqlx::query!(
        "UPDATE push_hook_secrets SET expires_at = least(expires_at, clock_timestamp() + $2::bigint * interval '1 hour') WHERE hook_id = $1",
        id,
        hours
    )
    .execute(&mut *connection)
    .await?;
    let encrypted = key.encrypt(&column(number), secret)?;
    sqlx::query!(
        "WITH made AS (INSERT INTO push_hook_secrets (hook_id, number, value_encrypted) VALUES ($1, $2, $3))
         UPDATE push_hooks SET revision = revision + 1, updated_at = clock_timestamp() WHERE id = $1",
        id,
        number,
        encrypted
    )
    .execute(connection)
    .await?;
    Ok(())
}
