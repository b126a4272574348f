//! Commands without an idempotency key, whose answer the test ignores.

use panda::db::Db;
use panda::db::commands::{CommandOutcome, DeploymentCommand};
use panda::db::idempotency::Idempotent;
use panda::domain::principal::Caller;
use panda::steps::RETRY_STEP;

/// Shorthands for the commands of callers.
pub trait Commands {
    /// Requests that traffic moves to green.
    async fn request_switch(&self, id: &str) -> Result<CommandOutcome, panda::db::DbError>;

    async fn request_cancel(&self, id: &str) -> Result<CommandOutcome, panda::db::DbError>;

    async fn request_retry(&self, id: &str) -> Result<CommandOutcome, panda::db::DbError>;
}

impl Commands for Db {
    async fn request_switch(&self, id: &str) -> Result<CommandOutcome, panda::db::DbError> {
        made(self, DeploymentCommand::Switch { four_eyes: false }, id).await
    }

    async fn request_cancel(&self, id: &str) -> Result<CommandOutcome, panda::db::DbError> {
        made(self, DeploymentCommand::Cancel, id).await
    }

    async fn request_retry(&self, id: &str) -> Result<CommandOutcome, panda::db::DbError> {
        made(self, DeploymentCommand::Retry { step: RETRY_STEP }, id).await
    }
}

async fn made(db: &Db, wish: DeploymentCommand, id: &str) -> Result<CommandOutcome, panda::db::DbError> {
    match db.run_command(wish, id, None, &Caller::local(), &serde_json::Value::Null).await? {
        Idempotent::Fresh(made) => Ok(made),
        once => panic!("without a key: {once:?}"),
    }
}
