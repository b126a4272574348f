//! Outcome of a step: data for the driver to commit.

use std::time::Duration;

use super::Step;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::deployment::{Deployment, Facts};
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::history::{HistoryPiece, RawEvent};
use crate::domain::mask::Mask;
use crate::domain::reason::Reason;

/// Result of running a step.
#[derive(Clone, Debug)]
pub struct StepOutcome {
    /// Next transition of the deployment.
    pub transition: Transition,
    /// Events to store, in order.
    pub events: Vec<Event>,
    /// Facts observed in external services.
    pub facts: Facts,
    /// Events of the execution's history that the step acted on, to be stored.
    pub history: Option<HistoryPiece>,
    /// False if AWS neither accepted nor refused the connection's credentials: a wait for their renewal continues.
    pub credentials_accepted: bool,
}

/// Next transition of a deployment.
#[derive(Clone, Debug)]
pub enum Transition {
    /// Another step, to be run immediately.
    Next(Step),
    /// Another step, to be run immediately, of a deployment that was ready and is not any more.
    RunAgain(Step),
    /// The same step again, possibly with a new state.
    Wait {
        /// The step with its new state.
        step: Step,
        /// Time until the next run.
        after: Duration,
        /// Relation of further waits to `after`.
        pace: Pace,
        /// Description of the awaited condition, shown to users.
        waiting_for: Reason,
    },
    /// Green is up: the step waits for manual approval.
    Ready(Step),
    /// Traffic has moved to green; the deployment is finished. The step watches the traffic until AWS can no longer take it back; none if it cannot.
    Completed(Option<Step>),
    /// The deployment has failed for good.
    Failed {
        /// Stable error code for API clients.
        code: ErrorCode,
        /// Observed cause, for the user.
        reason: Reason,
    },
}

/// Relation of a step's waits to the time that it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Each wait takes that time.
    #[default]
    Fixed,
    /// Waits grow while polls find nothing new, and begin again at that time with news.
    Adaptive,
}

impl StepOutcome {
    /// Continues with `step` immediately.
    pub fn next(step: impl Into<Step>) -> Self {
        Self::new(Transition::Next(step.into()))
    }

    /// Runs `step` again `after` some time.
    pub fn wait(step: impl Into<Step>, after: Duration, waiting_for: impl Into<Reason>) -> Self {
        let (step, waiting_for) = (step.into(), waiting_for.into());
        Self::new(Transition::Wait { step, after, pace: Pace::Fixed, waiting_for })
    }

    /// Runs `step` again after `interval`, and after longer waits while polls find nothing new.
    pub fn poll(step: impl Into<Step>, interval: Duration, waiting_for: impl Into<Reason>) -> Self {
        let (step, waiting_for) = (step.into(), waiting_for.into());
        Self::new(Transition::Wait { step, after: interval, pace: Pace::Adaptive, waiting_for })
    }

    /// Creates an outcome without events and facts.
    pub fn new(transition: Transition) -> Self {
        Self { transition, events: Vec::new(), facts: Facts::default(), history: None, credentials_accepted: true }
    }

    /// Adds `event` to the outcome.
    #[must_use]
    pub fn with_event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Adds observed facts to the outcome.
    #[must_use]
    pub fn with_facts(mut self, facts: Facts) -> Self {
        self.facts.merge(facts);
        self
    }
}

impl StepOutcome {
    /// States that AWS said nothing about the connection's credentials.
    #[must_use]
    pub fn without_answer(mut self) -> Self {
        self.credentials_accepted = false;
        self
    }

    /// Reports whether a poll found nothing new: the deployment waits for the same condition as its row already states.
    pub fn is_quiet(&self, deployment: &Deployment) -> bool {
        matches!(&self.transition, Transition::Wait { waiting_for, .. } if deployment.waits_for(waiting_for))
            && self.events.is_empty()
            && self.history.is_none()
            && self.facts == Facts::default()
    }

    /// Masks known secrets: text from external services may contain them.
    #[must_use]
    pub fn masked(mut self, mask: &Mask) -> Self {
        mask.events(&mut self.events);
        let history = self.history.iter_mut().flat_map(|piece| &mut piece.events);
        history.flat_map(RawEvent::texts_mut).for_each(|text| mask.string(text));
        self.facts.texts_mut().into_iter().for_each(|text| mask.option(text));
        match &mut self.transition {
            Transition::Next(step)
            | Transition::RunAgain(step)
            | Transition::Ready(step)
            | Transition::Completed(Some(step)) => step.mask(mask),
            Transition::Wait { step, waiting_for, .. } => {
                step.mask(mask);
                mask.reason(waiting_for);
            }
            Transition::Failed { reason, .. } => mask.reason(reason),
            Transition::Completed(None) => {}
        }
        self
    }
}

/// Error of a step that could not do its work.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StepError {
    /// Temporary: the step is repeated with exponential backoff within its time limit.
    #[error("{code}: {reason}")]
    Retryable {
        /// Error code if the time limit is reached.
        code: ErrorCode,
        /// Observed cause, for the user.
        reason: Reason,
    },
    /// The service throttles Panda: the step is repeated with exponential backoff, and the time that this takes extends the time limits
    /// (decision 0056), by an hour at most.
    #[error("{code}: {reason}")]
    Throttled {
        /// Error code for the record of the try, and if the time limit is reached.
        code: ErrorCode,
        /// Observed cause, for the user.
        reason: Reason,
    },
    /// AWS refuses the connection's credentials: the step is repeated once the connection is renewed, and the time until then extends the time limits
    /// (decision 0060), by a day at most.
    #[error("{code}: {reason}")]
    Credentials {
        /// Error code for the record of the try.
        code: ErrorCode,
        /// Observed cause, for the user.
        reason: Reason,
    },
    /// Permanent: repeating the step cannot succeed.
    #[error("{code}: {reason}")]
    Fatal {
        /// Stable error code for API clients.
        code: ErrorCode,
        /// Observed cause, for the user.
        reason: Reason,
    },
}

impl StepError {
    /// Masks known secrets in the reason.
    #[must_use]
    pub fn masked(mut self, mask: &Mask) -> Self {
        let (Self::Retryable { reason, .. }
        | Self::Throttled { reason, .. }
        | Self::Credentials { reason, .. }
        | Self::Fatal { reason, .. }) = &mut self;
        mask.reason(reason);
        self
    }

    /// Creates a permanent error.
    pub fn fatal(code: ErrorCode, reason: impl Into<Reason>) -> Self {
        Self::Fatal { code, reason: reason.into() }
    }

    /// Creates a temporary error; the step is repeated.
    pub fn retryable(code: ErrorCode, reason: impl Into<Reason>) -> Self {
        Self::Retryable { code, reason: reason.into() }
    }

    /// Converts a failed external call to a step's error; no other function does. `code` names the failure to the user.
    pub fn from_client(code: ErrorCode) -> impl Fn(ClientError) -> Self {
        move |error| {
            let reason = error.reason();
            match error.kind {
                ErrorKind::Throttled => Self::Throttled { code, reason },
                ErrorKind::Unavailable => Self::Retryable { code, reason },
                ErrorKind::Credentials => Self::Credentials { code, reason },
                ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::LimitExceeded
                | ErrorKind::Denied
                | ErrorKind::Invalid => Self::Fatal { code, reason },
            }
        }
    }
}
