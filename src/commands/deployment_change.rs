//! Shared by `switch`, `cancel` and `retry`: a change of one deployment in the caller's scope, with its audit entry.

use serde_json::{Value, json};

use super::deploy::error::DeployError;
use super::error::CommandError;
use super::idempotency::{Idempotent, KeyedTransaction};
use crate::db::audit::{self, AuditRecord};
use crate::db::idempotency::IdempotencyKey;
use crate::db::{Db, PgConnection, deployments};
use crate::domain::audit::Action;
use crate::domain::principal::Caller;

/// A caller's request to change a deployment.
#[derive(Clone, Copy, Debug)]
pub struct DeploymentChange<'a> {
    /// Id of the deployment.
    pub id: &'a str,
    /// Key of the request, if it has one.
    pub key: Option<&'a IdempotencyKey>,
    /// Caller whose role and scope are checked.
    pub by: &'a Caller,
    /// Answer, which is stored under the key.
    pub answer: &'a Value,
}

/// A change whose transaction has begun.
pub(super) enum Begun<'a> {
    First(KeyedTransaction<'a>),
    /// The stored answer of the same request.
    Repeated(Value),
}

impl<'a> DeploymentChange<'a> {
    /// Begins the transaction, if the deployment is in the caller's scope.
    pub(super) async fn begin(&self, db: &Db) -> Result<Begun<'a>, CommandError> {
        let mut tx = KeyedTransaction::begin(db, self.key).await?;
        if let Some(names) = self.by.scope().sql()
            && !deployments::is_in_scope(&mut tx, self.id, names).await?
        {
            return Err(not_found(&mut tx, self).await);
        }
        Ok(match tx.repeated().await? {
            Some(answer) => Begun::Repeated(answer),
            None => Begun::First(tx),
        })
    }

    /// Records the change in the audit log, and returns the row's id, which the deployment refers to. A refusal rolls the row back.
    pub(super) async fn record(&self, tx: &mut PgConnection, action: Action) -> Result<i64, CommandError> {
        self.record_with(tx, action, json!({})).await
    }

    /// As [`Self::record`], with details.
    pub(super) async fn record_with(
        &self,
        tx: &mut PgConnection,
        action: Action,
        details: Value,
    ) -> Result<i64, CommandError> {
        let (target, repository) = (Some(self.id), None);
        let entry = AuditRecord { by: self.by, action, target, repository, refused: None, details };
        Ok(audit::record(tx, &entry).await?)
    }

    /// Stores the answer, and commits.
    pub(super) async fn commit(&self, tx: KeyedTransaction<'_>) -> Result<Idempotent<()>, CommandError> {
        tx.commit(self.answer).await?;
        Ok(Idempotent::Fresh(()))
    }
}

/// Distinguishes an archived deployment from one that never existed, within the caller's scope.
pub(super) async fn not_found(tx: &mut PgConnection, change: &DeploymentChange<'_>) -> CommandError {
    let id = change.id.to_owned();
    match deployments::is_archived(tx, change.by.scope(), &id).await {
        Ok(true) => DeployError::Archived(id).into(),
        Ok(false) => DeployError::NotFound(id).into(),
        Err(error) => error.into(),
    }
}
