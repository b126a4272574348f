//! What `switch`, `cancel` and `retry` share: a wish is written, kept under the client's key, and whoever waits for it is told.

use serde_json::Value;

use super::missing::missing;
use crate::db::idempotency::Once;
use crate::db::wishes::{Wish, Wished};
use crate::domain::Status;
use crate::domain::principal::{Caller, Role};
use crate::http::ApiState;
use crate::http::error::{ApiError, AwsProblem};
use crate::http::extract::UnreadBody;
use crate::http::idempotency::KeyHeader;

/// A wish as a request brings it.
pub struct Request {
    /// What is wished for.
    pub wish: Wish,
    /// The last part of its path, under which keys are kept.
    pub name: &'static str,
    /// The deployment.
    pub id: String,
    /// The client's key.
    pub key: KeyHeader,
    /// The body, which only tells requests with one key apart.
    pub body: UnreadBody,
}

/// What there is to answer.
pub enum Answer {
    /// This: the wish is written, or was with the same key.
    Now(Value),
    /// An error that depends on the wish: not in this status.
    NotNow(Status),
}

/// Writes the wish; `answer` is what it is answered with.
///
/// # Errors
/// The key is not valid or came with another body, there is no such deployment, the caller may not, what a retry needs is gone or taken, or
/// the database is away.
pub async fn write(state: &ApiState, caller: &Caller, request: Request, answer: Value) -> Result<Answer, ApiError> {
    let Request { wish, name, id, key, body } = request;
    let key = key.of(caller, &format!("POST /api/v1/deploy/{id}/{name}"), &body.0)?;
    match state.db.wish(wish, &id, key.as_ref(), caller, &answer).await? {
        Once::Now(Wished::Accepted) => {}
        Once::Now(Wished::Unknown) => return Err(missing(state, caller.scope(), id).await),
        Once::Now(Wished::NeedsApprover) => {
            return Err(ApiError::NotAllowed { needed: Role::Approver, role: caller.principal.role });
        }
        Once::Now(Wished::NeedsAnother) => return Err(ApiError::NeedsAnother(id)),
        Once::Now(Wished::ConnectionRemoved(connection)) => return Err(ApiError::ConnectionRemoved(connection)),
        Once::Now(Wished::ConnectionOutdated(connection)) => return Err(AwsProblem::Outdated(connection).into()),
        // Only a retry asks for the target again.
        Once::Now(Wished::TargetTaken(other)) => return Err(ApiError::TargetTaken { other, retry_of: Some(id) }),
        Once::Now(Wished::NotNow(status)) => return Ok(Answer::NotNow(status)),
        Once::Repeated(answer) => return Ok(Answer::Now(answer)),
        Once::KeyReused => return Err(ApiError::IdempotencyKeyReused),
    }
    tracing::info!(deployment = %id, wish = name, "wished for");
    tell(state, &id).await;
    Ok(Answer::Now(answer))
}

/// Streams learn that more will come, and stay open; reconcilers that there is work. All are hints: the sweeps find what they missed.
pub async fn tell(state: &ApiState, id: &str) {
    state.hub.nudge(id);
    for told in [state.db.notify_work(id).await, state.db.notify_events(&[id.to_owned()]).await] {
        if let Err(error) = told {
            tracing::warn!(deployment = %id, %error, "the other processes could not be told");
        }
    }
}
