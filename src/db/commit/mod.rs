//! The fenced commit: changes state, facts, cursor, events and the record of the step's run together, and only for the owner that read them.

mod columns;
mod group_commit;
mod statement;

use serde_json::Value;
use sqlx::types::Uuid;

use group_commit::AppliedCommit;
pub(super) use group_commit::GroupCommit;

use super::{Db, DbError};
use crate::domain::catalogue::Lang;
use crate::domain::deployment::{Deployment, Facts, Status};
use crate::domain::event::Event;
use crate::domain::history::HistoryPiece;
use crate::domain::reason::Reason;

/// Changes of one commit. The default changes the version alone.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// New step with its state; restarts the step's clock.
    pub step: Option<(String, Value)>,
    /// New state of the same step.
    pub step_state: Option<Value>,
    /// New status; a final one also sets the end time.
    pub status: Option<Status>,
    /// Error code and message, with [`Status::Failed`].
    pub error: Option<(String, String)>,
    /// Reason for waiting, shown to users; none when the step does not wait.
    pub waiting_for: Option<Reason>,
    /// Facts observed in this iteration; absent fields keep their stored values.
    pub facts: Facts,
    /// Events to publish. An event whose key is stored already is not stored again.
    pub events: Vec<Event>,
    /// Events of the execution's history that were acted on, without secrets.
    pub history: Option<HistoryPiece>,
    /// Releases the row: the deployment needs a manual action, or a change at AWS, before it can proceed. Fulfils a requested look.
    pub release: bool,
    /// Sets if AWS can still change the deployment, so that it is watched. With none, a new status decides: only a ready deployment is watched.
    pub watched: Option<bool>,
    /// Number of tries since the last record of the step; 0 counts as 1.
    pub tries: u32,
    /// Error code and description of the last of these tries that failed. With neither a new step nor a new status the commit records a retry: the
    /// step is tried again later.
    pub trouble: Option<(String, String)>,
}

impl Change {
    /// Returns the outcome of the present run as `step_runs` names it; none when the run continues.
    fn run_outcome(&self) -> Option<&'static str> {
        match self.status {
            Some(Status::Completed) => Some("completed"),
            Some(Status::Failed) => Some("failed"),
            Some(Status::DeploymentReady) => Some("ready"),
            Some(Status::Running) | None if self.step.is_some() => Some("next"),
            Some(Status::Running) | None => self.trouble.as_ref().map(|_| "retry"),
        }
    }
}

/// Outcome of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The commit is durable. Events whose keys were stored before do not count as new.
    Done {
        /// Number of new events.
        new_events: i64,
    },
    /// Another replica owns the row: nothing was changed, and nothing may be retried.
    OwnershipLost,
}

impl Db {
    /// Commits `change` to `deployment` if `replica` still owns the version that was read, and updates `deployment` accordingly.
    ///
    /// Takes one statement and one round trip: the fenced UPDATE draws the sequence numbers under its row lock, and the events are inserted only if
    /// it matched. On an error the commit may or may not have been applied: never resend it, read the row again. Concurrent commits of other
    /// deployments share the statement: see `group_commit`.
    pub async fn commit(
        &self,
        deployment: &mut Deployment,
        replica: Uuid,
        mut change: Change,
    ) -> Result<Committed, DbError> {
        let events = std::mem::take(&mut change.events).into_iter().map(NewEvent::from).collect();
        let row = Row {
            id: deployment.id.clone(),
            replica,
            version: deployment.version,
            attempt: deployment.attempt,
            events,
            change,
        };
        match self.commits.commit(row).await? {
            None => Ok(Committed::OwnershipLost),
            Some(AppliedCommit { change, new_events }) => {
                deployment.apply(change);
                Ok(Committed::Done { new_events })
            }
        }
    }
}

/// A commit in flight: the version that was read, and its changes.
#[derive(Debug)]
struct Row {
    id: String,
    replica: Uuid,
    version: i64,
    attempt: i32,
    /// The events of `change`, moved out of it.
    events: Vec<NewEvent>,
    change: Change,
}

/// An event with the values of its row.
#[derive(Debug)]
struct NewEvent {
    id: Uuid,
    key: String,
    code: &'static str,
    event_type: &'static str,
    stage: Option<i32>,
    message: String,
    details: Option<Value>,
    params: Value,
}

impl From<Event> for NewEvent {
    fn from(event: Event) -> Self {
        let rendered = event.render(Lang::Ko);
        let stage = rendered.details.as_ref().and_then(|details| details.get("stage")).and_then(Value::as_i64);
        Self {
            id: Uuid::now_v7(),
            key: event.key,
            code: event.code.as_str(),
            event_type: rendered.event_type.as_str(),
            stage: stage.and_then(|stage| i32::try_from(stage).ok()),
            message: rendered.message,
            details: rendered.details.map(Value::Object),
            params: Value::Object(event.params),
        }
    }
}

impl Deployment {
    /// Applies a committed change to the copy in memory.
    fn apply(&mut self, change: Change) {
        self.version += 1;
        if let Some((step, state)) = change.step {
            self.step = step;
            self.step_state = state.to_string();
            self.step_elapsed = std::time::Duration::ZERO;
        } else if let Some(state) = change.step_state {
            self.step_state = state.to_string();
        }
        if let Some(status) = change.status {
            self.status = status;
        }
        self.waiting_for = change.waiting_for;
        self.facts.merge(change.facts);
    }
}
