//! Wishes as tests make them: without a key, and nobody reads the answer.

use panda::db::Db;
use panda::db::idempotency::Once;
use panda::db::wishes::{Wish, Wished};
use panda::domain::principal::Caller;
use panda::steps::RETRY_STEP;

/// What people wish for.
pub trait Wishes {
    /// The traffic on green.
    async fn request_switch(&self, id: &str) -> Result<Wished, panda::db::DbError>;

    /// The end.
    async fn request_cancel(&self, id: &str) -> Result<Wished, panda::db::DbError>;

    /// Another attempt.
    async fn request_retry(&self, id: &str) -> Result<Wished, panda::db::DbError>;
}

impl Wishes for Db {
    async fn request_switch(&self, id: &str) -> Result<Wished, panda::db::DbError> {
        made(self, Wish::Switch { by_another: false }, id).await
    }

    async fn request_cancel(&self, id: &str) -> Result<Wished, panda::db::DbError> {
        made(self, Wish::Cancel, id).await
    }

    async fn request_retry(&self, id: &str) -> Result<Wished, panda::db::DbError> {
        made(self, Wish::Retry { step: RETRY_STEP }, id).await
    }
}

async fn made(db: &Db, wish: Wish, id: &str) -> Result<Wished, panda::db::DbError> {
    match db.wish(wish, id, None, &Caller::local(), &serde_json::Value::Null).await? {
        Once::Now(made) => Ok(made),
        once => panic!("without a key: {once:?}"),
    }
}
