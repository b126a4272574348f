//! The fenced commit: state, facts, cursor, events and the record of the step's run change together, and only
//! for the owner that read them.

mod columns;
mod group;
mod statement;

use serde_json::Value;
use sqlx::types::Uuid;

pub(super) use group::Group;
use group::Kept;

use super::{Db, DbError};
use crate::domain::catalogue::Lang;
use crate::domain::deployment::{Deployment, Facts, Status};
use crate::domain::event::Event;

/// What a commit changes. The default changes nothing but the version.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// A new step with its state; restarts the step's clock.
    pub step: Option<(String, Value)>,
    /// New state of the same step.
    pub step_state: Option<Value>,
    /// A new status.
    pub status: Option<Status>,
    /// Error code and message, with [`Status::Failed`].
    pub error: Option<(String, String)>,
    /// What it waits for from now on; none when it does not wait.
    pub waiting_for: Option<String>,
    /// What was learned.
    pub learned: Facts,
    /// What to tell.
    pub events: Vec<Event>,
    /// Whether to give the row back: nothing is left to do without a person.
    pub release: bool,
    /// How often the step was tried since the last record of it; 0 counts as once.
    pub tries: u32,
    /// Error code of the last of these tries that could not do its work, and what was seen then. With neither a new step nor a
    /// new status it is itself the record: the step is tried again later.
    pub trouble: Option<(String, String)>,
}

impl Change {
    /// How the present run of the step ends with this, as `step_runs` names it; none when the run goes on.
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

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is durable. How many events are new: those whose keys were there already were told before.
    Done {
        /// Number of new events.
        new_events: i64,
    },
    /// The row is another's by now: nothing was changed, nothing may be tried again.
    OwnershipLost,
}

impl Db {
    /// Commits `change` to `deployment`, if `replica` still owns the version that was read; keeps `deployment` up with it.
    ///
    /// One statement, one round trip: the fenced UPDATE draws the sequence numbers under its row lock, and the events are
    /// inserted only if it matched. On an error the commit may or may not have happened: never resend it, read the row again.
    /// Commits of other deployments that are under way at the same time share the statement: see `group`.
    pub async fn commit(
        &self,
        deployment: &mut Deployment,
        replica: Uuid,
        mut change: Change,
    ) -> Result<Committed, DbError> {
        let told = std::mem::take(&mut change.events).into_iter().map(Told::from).collect();
        let row = Row {
            id: deployment.id.clone(),
            replica,
            version: deployment.version,
            attempt: deployment.attempt,
            told,
            change,
        };
        match self.commits.commit(row).await? {
            None => Ok(Committed::OwnershipLost),
            Some(Kept { change, new_events }) => {
                deployment.take_over(change);
                Ok(Committed::Done { new_events })
            }
        }
    }
}

/// A commit on its way: what was read, and what is to become of it.
#[derive(Debug)]
struct Row {
    id: String,
    replica: Uuid,
    version: i64,
    attempt: i32,
    /// The events of `change`, which has none itself any more.
    told: Vec<Told>,
    change: Change,
}

/// An event as the table takes it.
#[derive(Debug)]
struct Told {
    id: Uuid,
    key: String,
    code: &'static str,
    event_type: &'static str,
    stage: Option<i32>,
    message: String,
    details: Option<Value>,
    params: Value,
}

impl From<Event> for Told {
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
    /// Keeps the copy in memory up with what was just committed.
    fn take_over(&mut self, change: Change) {
        self.version += 1;
        if let Some((step, state)) = change.step {
            self.step = step;
            self.step_state = state;
            self.step_elapsed = std::time::Duration::ZERO;
        } else if let Some(state) = change.step_state {
            self.step_state = state;
        }
        if let Some(status) = change.status {
            self.status = status;
        }
        self.waiting_for = change.waiting_for;
        self.facts.merge(change.learned);
    }
}
