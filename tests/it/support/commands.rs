//! Commands without an idempotency key, whose answer the test ignores.

use panda::commands::CommandError;
use panda::commands::cancel::cancel;
use panda::commands::deploy::Starter;
use panda::commands::deployment_change::DeploymentChange;
use panda::commands::idempotency::Idempotent;
use panda::commands::retry::retry;
use panda::commands::rollback::{AcceptedRollback, RollbackRequest, rollback};
use panda::commands::switch::{SwitchTerms, switch};
use panda::db::Db;
use panda::domain::names::Names;
use panda::domain::principal::Caller;
use panda::steps::{FIRST_STEP, RETRY_STEP};
use serde_json::Value;

/// Shorthands for the commands of callers.
pub trait Commands {
    /// Requests that traffic moves to green.
    async fn request_switch(&self, id: &str) -> Result<(), CommandError>;

    async fn request_cancel(&self, id: &str) -> Result<(), CommandError>;

    async fn request_retry(&self, id: &str) -> Result<(), CommandError>;

    /// Requests a rollback to `to`, or to the last good version.
    async fn request_rollback(&self, id: &str, to: Option<&str>) -> Result<AcceptedRollback, CommandError>;
}

impl Commands for Db {
    async fn request_switch(&self, id: &str) -> Result<(), CommandError> {
        let by = Caller::local();
        switch(
            self,
            change(id, &by),
            SwitchTerms { four_eyes: false, image_digest: None, pause: None, freeze_override: None },
            |_| Value::Null,
        )
        .await
        .map(|outcome| assert_eq!(outcome, Idempotent::Fresh(Value::Null)))
    }

    async fn request_cancel(&self, id: &str) -> Result<(), CommandError> {
        let by = Caller::local();
        cancel(self, change(id, &by)).await.map(|outcome| fresh(&outcome))
    }

    async fn request_retry(&self, id: &str) -> Result<(), CommandError> {
        let by = Caller::local();
        retry(self, change(id, &by), RETRY_STEP, None).await.map(|outcome| fresh(&outcome))
    }

    async fn request_rollback(&self, id: &str, to: Option<&str>) -> Result<AcceptedRollback, CommandError> {
        let (by, names) = (Caller::local(), Names::default());
        let starter = Starter { names: &names, first_step: FIRST_STEP };
        let request = RollbackRequest { id, to, reason: Some("tests"), key: None, by: &by };
        match rollback(self, starter, request, |_| Value::Null).await? {
            Idempotent::Fresh(requested) => {
                self.notify_work(&requested.deployment_id).await.unwrap();
                Ok(requested)
            }
            Idempotent::Replayed(answer) => panic!("without a key: {answer}"),
        }
    }
}

fn change<'a>(id: &'a str, by: &'a Caller) -> DeploymentChange<'a> {
    DeploymentChange { id, key: None, by, answer: &Value::Null }
}

fn fresh(outcome: &Idempotent<()>) {
    assert_eq!(*outcome, Idempotent::Fresh(()), "without a key");
}
