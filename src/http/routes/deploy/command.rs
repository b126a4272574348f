//! Shared by `switch`, `cancel` and `retry`: the request as a command, and its answer.

use serde_json::Value;

use crate::commands::CommandError;
use crate::commands::deployment_change::DeploymentChange;
use crate::commands::idempotency::Idempotent;
use crate::db::idempotency::IdempotencyKey;
use crate::domain::principal::Caller;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::UnreadBody;
use crate::http::idempotency::IdempotencyKeyHeader;

/// A request to change a deployment.
pub struct ChangeRequest {
    caller: Caller,
    id: String,
    /// Last segment of the request path; part of the scope of idempotency keys.
    name: &'static str,
    key: Option<IdempotencyKey>,
    answer: Value,
}

impl ChangeRequest {
    /// Reads the request. `answer` is the response; the body only distinguishes requests with the same key.
    ///
    /// # Errors
    /// The key is invalid.
    pub fn new(
        caller: Caller,
        (id, name): (String, &'static str),
        (key, body): (IdempotencyKeyHeader, UnreadBody),
        answer: Value,
    ) -> Result<Self, ApiError> {
        let key = key.key_for(&caller, &format!("POST /api/v1/deploy/{id}/{name}"), &body.0)?;
        Ok(Self { caller, id, name, key, answer })
    }

    /// The request as a command's.
    pub fn change(&self) -> DeploymentChange<'_> {
        DeploymentChange { id: &self.id, key: self.key.as_ref(), by: &self.caller, answer: &self.answer }
    }

    /// Returns the answer to the request, after notifying streams and reconcilers of a change that was made now.
    ///
    /// # Errors
    /// The command was refused.
    pub async fn answer(
        &self,
        state: &ApiState,
        outcome: Result<Idempotent<()>, CommandError>,
    ) -> Result<Value, ApiError> {
        match outcome? {
            Idempotent::Replayed(answer) => Ok(answer),
            Idempotent::Fresh(()) => {
                tracing::info!(deployment = %self.id, command = self.name, "command accepted");
                notify(state, &self.id).await;
                Ok(self.answer.clone())
            }
        }
    }
}

/// Notifies streams, which stay open for further events, and reconcilers of a changed deployment. Notifications are hints: periodic sweeps find
/// what a lost one missed.
pub async fn notify(state: &ApiState, id: &str) {
    state.hub.notify(id);
    for sent in [state.db.notify_work(id).await, state.db.notify_events(&[id.to_owned()]).await] {
        if let Err(error) = sent {
            tracing::warn!(deployment = %id, %error, "notification failed, other processes find the change at their next sweep");
        }
    }
}
