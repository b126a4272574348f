//! State that the driver keeps about a step between two iterations.

use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;

use super::extra_time::ExtraTime;
use super::limits::{RUN_GRACE, TAKEOVER_TIME};
use super::pacing::Pacing;
use crate::db::commit::Change;
use crate::domain::failure::ErrorCode;
use crate::domain::reason::Reason;
use crate::domain::{Deployment, Facts, Status};
use crate::steps::{ResourceClass, Services, Step};
use crate::telemetry::traces;

/// Progress of one step within this process. Lost on a takeover, without harm.
pub(super) struct StepProgress {
    /// Failures in a row of this step.
    pub(super) failures: u32,
    /// The last of these failures.
    pub(super) last_error: Option<(ErrorCode, Reason)>,
    /// The last failure that is not in the step's record (`step_runs`) yet.
    pub(super) unrecorded: Option<(ErrorCode, String)>,
    /// Number of failures that are not in the step's record yet.
    pub(super) unrecorded_failures: u32,
    /// Time at which this replica started or took over the step.
    pub(super) begun: Instant,
    /// The step's span, from `begun` until this replica leaves the step.
    pub(super) span: Span,
    /// Time limit of the step; `None` without a limit.
    pub(super) deadline: Option<Instant>,
    /// True when `deadline` is the limit of the whole attempt, not the step's.
    pub(super) whole: bool,
    /// True once the driver has checked how the earlier runs were interrupted.
    pub(super) judged: bool,
    /// Time by which the limits are extended, in earlier steps too.
    pub(super) extra: ExtraTime,
    /// Pace of the step's polls.
    pub(super) pacing: Pacing,
}

impl StepProgress {
    /// Progress of a step that starts or is taken over. `attempt_ends` is the time by which the whole attempt must be ready for its switch,
    /// without the extra time.
    pub(super) fn of(
        deployment: &Deployment,
        step: &Step,
        services: &Services,
        attempt_ends: Option<Instant>,
        extra: ExtraTime,
    ) -> Self {
        let attempt_ends = attempt_ends.and_then(|ends| ends.checked_add(extra.total()));
        // Taken over in or after a wait for a renewal: the row has its duration.
        let waited = extra.renewal().min(deployment.step_elapsed);
        let left = step.limit(&services.settings).saturating_add(waited).saturating_sub(deployment.step_elapsed);
        let step_ends = Instant::now().checked_add(left);
        // Cancelling is exempt from the attempt's limit: otherwise the limit would leave resources running at AWS. So is an execution that replaces one
        // that may have been ready for days.
        let limited = step.cancelled().is_some() && step.replaced().unwrap_or(0) == 0;
        let attempt_ends = attempt_ends.filter(|_| deployment.status == Status::Running && limited);
        let mut deadline = [step_ends, attempt_ends].into_iter().flatten().min();
        let whole = attempt_ends.is_some() && deadline == attempt_ends;
        if step.resource_class() == ResourceClass::Light && !deployment.step_elapsed.is_zero() {
            // Taken over: only the replica before knew for how long the step was throttled, so it runs at least once more.
            deadline = deadline.map(|ends| ends.max(Instant::now() + TAKEOVER_TIME));
        }
        let span = tracing::info_span!("step", step = step.name());
        traces::rename(&span, step.name());
        Self {
            failures: 0,
            last_error: None,
            unrecorded: None,
            unrecorded_failures: 0,
            begun: Instant::now(),
            span,
            deadline,
            whole,
            judged: false,
            extra,
            pacing: Pacing::default(),
        }
    }

    /// A change that carries the unrecorded failures, for the record of the run that it may end.
    pub(super) fn change(&self) -> Change {
        let trouble = self.unrecorded.as_ref().map(|(code, reason)| (code.as_str().to_owned(), reason.clone()));
        Change { tries: self.unrecorded_failures + 1, trouble, ..Change::default() }
    }

    /// Clears the failures that the last commit recorded.
    pub(super) fn recorded(&mut self) {
        (self.unrecorded, self.unrecorded_failures) = (None, 0);
    }

    /// Extends the limits by a run that was throttled and the wait after it, until that took too long in total.
    pub(super) fn extend(&mut self, time: Duration) {
        let granted = self.extra.grant_throttled(time);
        self.deadline = self.deadline.and_then(|deadline| deadline.checked_add(granted));
    }

    /// The same for a wait for a renewal, and the refused run before it.
    pub(super) fn extend_for_renewal(&mut self, time: Duration) {
        let granted = self.extra.grant_renewal(time);
        self.deadline = self.deadline.and_then(|deadline| deadline.checked_add(granted));
    }

    /// The facts at the end of a wait for a renewal.
    pub(super) fn renewal_facts(&self) -> Facts {
        let waited = i64::try_from(self.extra.renewal().as_millis()).unwrap_or(i64::MAX);
        Facts { awaits_renewal: Some(false), renewal_wait_ms: Some(waited), ..Facts::default() }
    }

    /// The time at which a run of the step is stopped. A short step may end what it is doing: the SDK repeats a throttled call itself, and only the
    /// end of its tries shows that the time extends the limits.
    pub(super) fn run_deadline(&self, step: &Step) -> Option<Instant> {
        let grace = if step.resource_class() == ResourceClass::Light { RUN_GRACE } else { Duration::ZERO };
        self.deadline.and_then(|deadline| deadline.checked_add(grace))
    }

    /// Limits `wait` to the time left before the deadline.
    pub(super) fn within(&self, wait: Duration) -> Duration {
        self.deadline.map_or(wait, |deadline| wait.min(deadline.saturating_duration_since(Instant::now())))
    }
}
