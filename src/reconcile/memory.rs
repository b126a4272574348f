//! What the driver remembers of a step between its turns.

use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;

use crate::db::commit::Change;
use crate::domain::failure::ErrorCode;
use crate::domain::{Deployment, Status};
use crate::steps::{Services, Step};
use crate::telemetry::traces;

/// What is remembered between turns, and may be forgotten.
pub(super) struct Memory {
    /// Failures in a row of this step.
    pub(super) failures: u32,
    /// The last of them.
    pub(super) last_error: Option<(ErrorCode, String)>,
    /// The last of the step's failures that is in no record yet, and how many there were: for the record of the run.
    pub(super) unrecorded: Option<(ErrorCode, String)>,
    pub(super) unrecorded_failures: u32,
    /// When this replica took the step up.
    pub(super) begun: Instant,
    /// The step's, from when this replica took it up to when it leaves it.
    pub(super) span: Span,
    /// When the step's time is up; none without a limit.
    pub(super) deadline: Option<Instant>,
    /// Whether that is the time of the whole attempt.
    pub(super) whole: bool,
    /// Whether it was counted how the runs before were interrupted.
    pub(super) judged: bool,
}

impl Memory {
    /// Of a step that begins, or is taken over. `attempt_ends` is when the whole attempt has to be ready for its switch.
    pub(super) fn of(deployment: &Deployment, step: &Step, services: &Services, attempt_ends: Option<Instant>) -> Self {
        let left = step.limit(&services.settings).saturating_sub(deployment.step_elapsed);
        let step_ends = Instant::now().checked_add(left);
        // Cancelling has a time of its own, or what runs outside would be left there by the very limit.
        let attempt_ends = attempt_ends.filter(|_| deployment.status == Status::Running && step.cancelled().is_some());
        let deadline = [step_ends, attempt_ends].into_iter().flatten().min();
        let span = tracing::info_span!("step", step = step.name());
        traces::name(&span, step.name());
        Self {
            failures: 0,
            last_error: None,
            unrecorded: None,
            unrecorded_failures: 0,
            begun: Instant::now(),
            span,
            deadline,
            whole: attempt_ends.is_some() && deadline == attempt_ends,
            judged: false,
        }
    }

    /// A change that says, if it ends the run, what went wrong in it.
    pub(super) fn change(&self) -> Change {
        let trouble = self.unrecorded.as_ref().map(|(code, reason)| (code.as_str().to_owned(), reason.clone()));
        Change { tries: self.unrecorded_failures + 1, trouble, ..Change::default() }
    }

    pub(super) fn recorded(&mut self) {
        (self.unrecorded, self.unrecorded_failures) = (None, 0);
    }

    /// The time that `wait` may take before the time is up.
    pub(super) fn within(&self, wait: Duration) -> Duration {
        self.deadline.map_or(wait, |deadline| wait.min(deadline.saturating_duration_since(Instant::now())))
    }
}
