//! Shared by `switch`, `cancel` and `retry`: writes the command with its response under the client's idempotency key, and notifies streams and
//! reconcilers.

use serde_json::Value;

use super::not_found::not_found;
use crate::db::commands::{CommandOutcome, DeploymentCommand};
use crate::db::idempotency::Idempotent;
use crate::domain::Status;
use crate::domain::principal::{Caller, Role};
use crate::http::ApiState;
use crate::http::auth::error::AccessError;
use crate::http::error::ApiError;
use crate::http::error::input::InputError;
use crate::http::extract::UnreadBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::routes::connect::aws::error::AwsConnectError;
use crate::http::routes::deploy::error::DeployError;

/// A command for a deployment, from one request.
pub struct CommandRequest {
    /// The change to write.
    pub command: DeploymentCommand,
    /// Last segment of the request path; part of the scope of idempotency keys.
    pub name: &'static str,
    /// Id of the deployment.
    pub id: String,
    /// `Idempotency-Key`, if the request has one.
    pub key: IdempotencyKeyHeader,
    /// Body, which only distinguishes requests with the same key.
    pub body: UnreadBody,
}

/// Outcome of a successful [`submit`].
pub enum Written {
    /// The command was written, now or earlier with the same key; holds the response.
    Accepted(Value),
    /// The deployment's status forbids the command; each endpoint has its own error for that.
    WrongStatus(Status),
}

/// Writes the command. `answer` is the response, which is stored with the idempotency key.
///
/// # Errors
/// The key is invalid or came with another body, the deployment does not exist, the caller may not do this, a retry's connection or target is
/// unavailable, or the database is.
pub async fn submit(
    state: &ApiState,
    caller: &Caller,
    request: CommandRequest,
    answer: Value,
) -> Result<Written, ApiError> {
    let CommandRequest { command, name, id, key, body } = request;
    let key = key.key_for(caller, &format!("POST /api/v1/deploy/{id}/{name}"), &body.0)?;
    match state.db.run_command(command, &id, key.as_ref(), caller, &answer).await? {
        Idempotent::Fresh(CommandOutcome::Accepted) => {}
        Idempotent::Fresh(CommandOutcome::NotFound) => return Err(not_found(state, caller.scope(), id).await),
        Idempotent::Fresh(CommandOutcome::NeedsApprover) => {
            return Err(AccessError::NotAllowed { needed: Role::Approver, role: caller.principal.role }.into());
        }
        Idempotent::Fresh(CommandOutcome::SelfApproval) => return Err(DeployError::ApproverStartedIt(id).into()),
        Idempotent::Fresh(CommandOutcome::ConnectionRemoved(connection)) => {
            return Err(DeployError::ConnectionRemoved(connection).into());
        }
        Idempotent::Fresh(CommandOutcome::ConnectionOutdated(connection)) => {
            return Err(AwsConnectError::Outdated(connection).into());
        }
        // Only a retry needs the target again.
        Idempotent::Fresh(CommandOutcome::TargetTaken(other)) => {
            return Err(DeployError::TargetTaken { other, retry_of: Some(id) }.into());
        }
        Idempotent::Fresh(CommandOutcome::WrongStatus(status)) => return Ok(Written::WrongStatus(status)),
        Idempotent::Replayed(answer) => return Ok(Written::Accepted(answer)),
        Idempotent::KeyReused => return Err(InputError::IdempotencyKeyReused.into()),
    }
    tracing::info!(deployment = %id, command = name, "command accepted");
    notify(state, &id).await;
    Ok(Written::Accepted(answer))
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
