//! Commands that a client may repeat under a key: the answer is stored with the command, and a repetition gets it without an effect.

use std::ops::{Deref, DerefMut};

use serde_json::Value;

use super::error::CommandError;
use crate::db::idempotency::{self, IdempotencyKey, KeyRow, KeyState};
use crate::db::{Db, PgConnection, Transaction};

/// Outcome of a command that may carry a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Idempotent<T> {
    /// The command was carried out now.
    Fresh(T),
    /// The command was carried out before under the same key: the stored answer.
    Replayed(Value),
}

/// Looks a key up without reserving it, for commands that check a connection before they store anything: a repetition succeeds even when its
/// credentials have expired meanwhile.
pub async fn stored_answer(db: &Db, key: Option<&IdempotencyKey>) -> Result<Option<Value>, CommandError> {
    let Some(key) = key else { return Ok(None) };
    answer_of(db.stored_answer(key).await?)
}

/// A command's transaction. Dropping it leaves no trace, not even of the key.
pub(super) struct KeyedTransaction<'a> {
    transaction: Transaction,
    key: Option<KeyRow<'a>>,
}

impl<'a> KeyedTransaction<'a> {
    pub(super) async fn begin(db: &Db, key: Option<&'a IdempotencyKey>) -> Result<Self, CommandError> {
        // Before the transaction, because a key service may be called.
        let key = db.keyed(key).await?;
        Ok(Self { transaction: db.begin().await?, key })
    }

    /// Reserves the key, or returns the answer that is stored under it. A concurrent request with the same key waits here for the first one's end.
    pub(super) async fn repeated(&mut self) -> Result<Option<Value>, CommandError> {
        answer_of(idempotency::reserve(&mut self.transaction, self.key.as_ref()).await?)
    }

    /// Commits with the answer under the key.
    pub(super) async fn commit(mut self, answer: &Value) -> Result<(), CommandError> {
        idempotency::store_answer(&mut self.transaction, self.key.as_ref(), answer).await?;
        Ok(self.transaction.commit().await?)
    }
}

impl Deref for KeyedTransaction<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for KeyedTransaction<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

fn answer_of(state: KeyState) -> Result<Option<Value>, CommandError> {
    match state {
        KeyState::Unused => Ok(None),
        KeyState::Replayed(answer) => Ok(Some(answer)),
        KeyState::Reused => Err(CommandError::KeyReused),
    }
}
