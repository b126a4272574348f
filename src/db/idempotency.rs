//! Answers kept for requests that are sent again under the same key. Old ones are as good as forgotten, and removed in time.
//!
//! A request may hold a secret that a dictionary has, so its hash is stored keyed (`Keyed`, decision 0042).

use aws_lc_rs::hmac;
use serde_json::Value;
use sqlx::PgConnection;

use super::{Db, DbError};

/// Rows that one statement removes at most: a large one would hold up whoever comes with a key.
const BATCH: i64 = 1_000;

/// The migration since which programs understand keyed hashes. While an older program is alive it meets our rows, so they have the hash that it
/// compares.
const KEYED_SINCE: i64 = 23;

/// A key with which a client repeats a request without repeating its effect.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// Method and path.
    pub scope: String,
    /// The client's key.
    pub key: String,
    /// SHA-256 of the request's meaning. Never stored, unless a program needs it that knows no other.
    pub request_hash: Vec<u8>,
}

/// A key as its row has it.
pub(super) struct Keyed<'a> {
    key: &'a IdempotencyKey,
    /// HMAC-SHA-256 of all of it: equal requests under other keys differ.
    hash: Vec<u8>,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// Nothing: the request is the first.
    Free,
    /// It came with the same body before: the answer of then.
    Repeated(Value),
    /// It came with another body.
    Reused,
}

/// What became of a request that may carry a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Once<T> {
    /// It was made now.
    Now(T),
    /// It was made before: the answer of then.
    Repeated(Value),
    /// The key came with another body.
    KeyReused,
}

impl Db {
    /// What is known of `key`, without using it: for requests that ask the outside before they store anything.
    pub async fn kept_answer(&self, key: &IdempotencyKey) -> Result<Kept, DbError> {
        let key = self.keyed_one(key).await?;
        let mut connection = self.pool.acquire().await?;
        look(&mut connection, &key).await
    }

    /// The key as its row has it. Before the transaction: a key service may have to be asked once.
    pub(super) async fn keyed<'a>(&self, key: Option<&'a IdempotencyKey>) -> Result<Option<Keyed<'a>>, DbError> {
        match key {
            Some(key) => Ok(Some(self.keyed_one(key).await?)),
            None => Ok(None),
        }
    }

    async fn keyed_one<'a>(&self, key: &'a IdempotencyKey) -> Result<Keyed<'a>, DbError> {
        let mut context = hmac::Context::with_key(self.request_key().await?);
        // Neither scope nor key has a NUL.
        for part in [key.scope.as_bytes(), b"\0", key.key.as_bytes(), b"\0", &key.request_hash] {
            context.update(part);
        }
        Ok(Keyed { key, hash: context.sign().as_ref().to_vec() })
    }

    /// Removes the keys that are older than they are kept for; how many.
    pub async fn forget_old_keys(&self) -> Result<u64, DbError> {
        let mut gone = 0;
        loop {
            let batch = sqlx::query!(
                "DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
                     SELECT ctid FROM idempotency_keys WHERE created_at < now() - interval '24 hours' LIMIT $1))",
                BATCH
            )
            .execute(&self.pool)
            .await?
            .rows_affected();
            gone += batch;
            if batch < BATCH.unsigned_abs() {
                return Ok(gone);
            }
        }
    }
}

/// Takes the key within the caller's transaction; what is known of it when it was taken before, by a request with or without its end:
/// one that is under way holds the row's lock, so that we wait here and then see its answer.
pub(super) async fn reserve<T>(
    connection: &mut PgConnection,
    key: Option<&Keyed<'_>>,
) -> Result<Option<Once<T>>, DbError> {
    let Some(key) = key else { return Ok(None) };
    let taken = sqlx::query!(
        "INSERT INTO idempotency_keys AS kept (scope, key, request_hash, response)
         SELECT $1, $2, CASE WHEN older.alive THEN $4::bytea ELSE $3 END, 'null'
         FROM (SELECT EXISTS (SELECT FROM replicas WHERE coalesce(schema_version, 0) < $5
                                AND heartbeat_at + lease_ms * interval '1 millisecond' + interval '1 minute' > clock_timestamp())) AS older (alive)
         ON CONFLICT (scope, key) DO UPDATE
             SET request_hash = excluded.request_hash, response = excluded.response, created_at = now()
             WHERE kept.created_at < now() - interval '24 hours'",
        key.key.scope,
        key.key.key,
        key.hash,
        key.key.request_hash,
        KEYED_SINCE
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if taken == 1 {
        return Ok(None);
    }
    Ok(match look(connection, key).await? {
        Kept::Repeated(answer) => Some(Once::Repeated(answer)),
        Kept::Reused => Some(Once::KeyReused),
        // Removed as too old between the two statements: the request goes on as one without a key.
        Kept::Free => None,
    })
}

/// Keeps the answer for the key that [`reserve`] took.
pub(super) async fn keep(
    connection: &mut PgConnection,
    key: Option<&Keyed<'_>>,
    answer: &Value,
) -> Result<(), DbError> {
    let Some(Keyed { key, .. }) = key else { return Ok(()) };
    sqlx::query!("UPDATE idempotency_keys SET response = $3 WHERE scope = $1 AND key = $2", key.scope, key.key, answer)
        .execute(connection)
        .await?;
    Ok(())
}

async fn look(connection: &mut PgConnection, Keyed { key, hash }: &Keyed<'_>) -> Result<Kept, DbError> {
    let kept = sqlx::query!(
        "SELECT request_hash, response FROM idempotency_keys
         WHERE scope = $1 AND key = $2 AND created_at >= now() - interval '24 hours'",
        key.scope,
        key.key
    )
    .fetch_optional(connection)
    .await?;
    Ok(match kept {
        None => Kept::Free,
        Some(kept) if kept.request_hash == *hash || kept.request_hash == key.request_hash => {
            Kept::Repeated(kept.response)
        }
        Some(_) => Kept::Reused,
    })
}
