//! Answers kept for requests that are sent again under the same key. Old ones are as good as forgotten, and removed in time.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::audit::{self, Entry};
use super::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::connection::{AwsConnection, GithubConnection};
use crate::domain::principal::{Caller, Scope};

/// Rows that one statement removes at most: a large one would hold up whoever comes with a key.
const BATCH: i64 = 1_000;

/// A key with which a client repeats a request without repeating its effect.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// Method and path.
    pub scope: String,
    /// The client's key.
    pub key: String,
    /// SHA-256 of the body.
    pub request_hash: Vec<u8>,
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
        let mut connection = self.pool.acquire().await?;
        look(&mut connection, key).await
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

    /// Stores a connection to a source repository, and `answer` for the key, in one transaction.
    pub async fn insert_github_connection_once(
        &self,
        connection: &GithubConnection,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: &Value,
    ) -> Result<Once<()>, DbError> {
        let row_key = self.github_row_key(connection).await?;
        let mut tx = self.pool.begin().await?;
        if let Some(known) = reserve(&mut tx, key).await? {
            return Ok(known);
        }
        super::connections::insert_github(&mut tx, &row_key, connection).await?;
        keep(&mut tx, key, answer).await?;
        let (target, details) = (Some(connection.id.as_str()), json!({"branch": connection.branch}));
        let repository = Some((connection.owner.as_str(), connection.repo.as_str()));
        let entry = Entry { by, action: Action::ConnectGithub, target, repository, refused: None, details };
        audit::record(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(Once::Now(()))
    }

    /// Stores a connection to an AWS account for the repositories of `scope`, and `answer` for the key, in one transaction.
    pub async fn insert_aws_connection_once(
        &self,
        connection: &AwsConnection,
        scope: &Scope,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: &Value,
    ) -> Result<Once<()>, DbError> {
        let row_key = self.aws_row_key(connection).await?;
        let mut tx = self.pool.begin().await?;
        if let Some(known) = reserve(&mut tx, key).await? {
            return Ok(known);
        }
        super::connections::insert_aws(&mut tx, &row_key, connection, scope).await?;
        keep(&mut tx, key, answer).await?;
        let target = Some(connection.id.as_str());
        let details =
            json!({"accountId": connection.account_id, "region": connection.region, "repositories": scope.sql()});
        let entry = Entry { by, action: Action::ConnectAws, target, repository: None, refused: None, details };
        audit::record(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(Once::Now(()))
    }
}

/// Takes the key within the caller's transaction; what is known of it when it was taken before, by a request with or without its end:
/// one that is under way holds the row's lock, so that we wait here and then see its answer.
pub(super) async fn reserve<T>(
    connection: &mut PgConnection,
    key: Option<&IdempotencyKey>,
) -> Result<Option<Once<T>>, DbError> {
    let Some(key) = key else { return Ok(None) };
    let taken = sqlx::query!(
        "INSERT INTO idempotency_keys AS kept (scope, key, request_hash, response) VALUES ($1, $2, $3, 'null')
         ON CONFLICT (scope, key) DO UPDATE
             SET request_hash = excluded.request_hash, response = excluded.response, created_at = now()
             WHERE kept.created_at < now() - interval '24 hours'",
        key.scope,
        key.key,
        key.request_hash
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
    key: Option<&IdempotencyKey>,
    answer: &Value,
) -> Result<(), DbError> {
    let Some(key) = key else { return Ok(()) };
    sqlx::query!("UPDATE idempotency_keys SET response = $3 WHERE scope = $1 AND key = $2", key.scope, key.key, answer)
        .execute(connection)
        .await?;
    Ok(())
}

async fn look(connection: &mut PgConnection, key: &IdempotencyKey) -> Result<Kept, DbError> {
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
        Some(kept) if kept.request_hash == key.request_hash => Kept::Repeated(kept.response),
        Some(_) => Kept::Reused,
    })
}
