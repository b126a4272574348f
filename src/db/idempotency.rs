//! Idempotency keys: answers stored for requests that are repeated under the same key. Expired keys are ignored, and deleted later.
//!
//! A request may hold a guessable secret, so its hash is stored as an HMAC (`KeyRow`, decision 0042).

use aws_lc_rs::hmac;
use serde_json::Value;
use sqlx::PgConnection;

use super::{Db, DbError};

/// Maximum rows of one DELETE: a larger one would block requests with keys.
const BATCH: i64 = 1_000;

/// A key with which a client repeats a request without repeating its effect.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// Method and path of the request.
    pub scope: String,
    /// Key chosen by the client; unique within the scope.
    pub key: String,
    /// SHA-256 of the request's canonical form; never stored.
    pub request_hash: Vec<u8>,
}

/// A key with the HMAC that its row stores.
#[derive(Debug)]
pub struct KeyRow<'a> {
    key: &'a IdempotencyKey,
    /// HMAC-SHA-256 of scope, key and request hash, so that equal requests under different keys differ.
    hash: Vec<u8>,
}

/// State of a stored key.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyState {
    /// The key is unused: the request is the first.
    Unused,
    /// The key was used with the same body before: the stored answer.
    Replayed(Value),
    /// The key was used with another body.
    Reused,
}

impl Db {
    /// Looks `key` up without reserving it: for requests that call external services before they store anything.
    pub async fn stored_answer(&self, key: &IdempotencyKey) -> Result<KeyState, DbError> {
        let key = self.key_row(key).await?;
        let mut connection = self.pool.acquire().await?;
        lookup(&mut connection, &key).await
    }

    /// Computes the HMAC of a key. Called before the transaction, because it may call a key service once.
    pub async fn keyed<'a>(&self, key: Option<&'a IdempotencyKey>) -> Result<Option<KeyRow<'a>>, DbError> {
        match key {
            Some(key) => Ok(Some(self.key_row(key).await?)),
            None => Ok(None),
        }
    }

    async fn key_row<'a>(&self, key: &'a IdempotencyKey) -> Result<KeyRow<'a>, DbError> {
        let mut context = hmac::Context::with_key(self.request_key().await?);
        // Neither scope nor key contains a NUL.
        for part in [key.scope.as_bytes(), b"\0", key.key.as_bytes(), b"\0", &key.request_hash] {
            context.update(part);
        }
        Ok(KeyRow { key, hash: context.sign().as_ref().to_vec() })
    }

    /// Deletes expired keys and returns their number.
    pub async fn delete_expired_keys(&self) -> Result<u64, DbError> {
        let mut deleted = 0;
        loop {
            let batch = sqlx::query!(
                "DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
                     SELECT ctid FROM idempotency_keys WHERE created_at < now() - interval '24 hours' LIMIT $1))",
                BATCH
            )
            .execute(&self.pool)
            .await?
            .rows_affected();
            deleted += batch;
            if batch < BATCH.unsigned_abs() {
                return Ok(deleted);
            }
        }
    }
}

/// Reserves the key within the caller's transaction, or returns its state when it was reserved before. A concurrent request with the same key holds
/// the row's lock: this one waits for it here and then sees its answer.
pub async fn reserve(connection: &mut PgConnection, key: Option<&KeyRow<'_>>) -> Result<KeyState, DbError> {
    let Some(key) = key else { return Ok(KeyState::Unused) };
    let taken = sqlx::query!(
        "INSERT INTO idempotency_keys AS kept (scope, key, request_hash, response)
         VALUES ($1, $2, $3, 'null')
         ON CONFLICT (scope, key) DO UPDATE
             SET request_hash = excluded.request_hash, response = excluded.response, created_at = now()
             WHERE kept.created_at < now() - interval '24 hours'",
        key.key.scope,
        key.key.key,
        key.hash
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if taken == 1 {
        return Ok(KeyState::Unused);
    }
    // Unused when it was deleted as expired between the two statements: the request continues as one without a key.
    lookup(connection, key).await
}

/// Stores the answer under the key that [`reserve`] took.
pub async fn store_answer(
    connection: &mut PgConnection,
    key: Option<&KeyRow<'_>>,
    answer: &Value,
) -> Result<(), DbError> {
    let Some(KeyRow { key, .. }) = key else { return Ok(()) };
    sqlx::query!("UPDATE idempotency_keys SET response = $3 WHERE scope = $1 AND key = $2", key.scope, key.key, answer)
        .execute(connection)
        .await?;
    Ok(())
}

async fn lookup(connection: &mut PgConnection, KeyRow { key, hash }: &KeyRow<'_>) -> Result<KeyState, DbError> {
    let kept = sqlx::query!(
        "SELECT request_hash, response FROM idempotency_keys
         WHERE scope = $1 AND key = $2 AND created_at >= now() - interval '24 hours'",
        key.scope,
        key.key
    )
    .fetch_optional(connection)
    .await?;
    Ok(match kept {
        None => KeyState::Unused,
        Some(kept) if kept.request_hash == *hash => KeyState::Replayed(kept.response),
        Some(_) => KeyState::Reused,
    })
}
