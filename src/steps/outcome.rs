//! What a step says happens next: data, for the driver to commit.

use std::time::Duration;

use super::Step;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::mask::Mask;
use crate::domain::text;

/// What a step found or did, and what comes next.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What comes next.
    pub then: Then,
    /// What to tell, in order.
    pub events: Vec<Event>,
    /// What was learned.
    pub learned: Facts,
}

/// What comes next.
#[derive(Clone, Debug)]
pub enum Then {
    /// Another step, at once.
    Next(Step),
    /// The same step (with this state) again.
    Wait {
        /// The step with its state from now on.
        step: Step,
        /// After this time.
        after: Duration,
        /// What is waited for, in words.
        why: String,
    },
    /// Green is up: this step waits for a person.
    Ready(Step),
    /// The traffic is on green.
    Completed,
    /// It will never get there.
    Failed {
        /// Stable code.
        code: ErrorCode,
        /// What was seen.
        reason: String,
    },
}

impl Outcome {
    /// Goes on with `step`.
    pub fn next(step: impl Into<Step>) -> Self {
        Self::new(Then::Next(step.into()))
    }

    /// Looks again `after` some time.
    pub fn wait(step: impl Into<Step>, after: Duration, why: impl Into<String>) -> Self {
        Self::new(Then::Wait { step: step.into(), after, why: why.into() })
    }

    /// With nothing to tell and nothing learned.
    pub fn new(then: Then) -> Self {
        Self { then, events: Vec::new(), learned: Facts::default() }
    }

    /// Tells `event` with the outcome.
    #[must_use]
    pub fn telling(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Records what was learned.
    #[must_use]
    pub fn learning(mut self, learned: Facts) -> Self {
        self.learned.merge(learned);
        self
    }
}

impl Outcome {
    /// Whether it is another look that found nothing, and waits for what the row says already.
    pub fn is_quiet(&self, waiting_for: Option<&str>) -> bool {
        matches!(&self.then, Then::Wait { why, .. } if waiting_for == Some(why))
            && self.events.is_empty()
            && self.learned == Facts::default()
    }

    /// The same without known secrets: what a step reads outside is other people's words.
    #[must_use]
    pub fn masked(mut self, mask: &Mask) -> Self {
        mask.events(&mut self.events);
        self.learned.texts_mut().into_iter().for_each(|text| mask.option(text));
        match &mut self.then {
            Then::Next(step) | Then::Ready(step) => step.mask(mask),
            Then::Wait { step, why, .. } => {
                step.mask(mask);
                mask.string(why);
            }
            Then::Failed { reason, .. } => mask.string(reason),
            Then::Completed => {}
        }
        self
    }
}

/// A step that could not do its work.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StepError {
    /// Time may mend it: tried again, with growing waits, within the step's time limit.
    #[error("{code}: {reason}")]
    Retryable {
        /// The failure's code if time does not mend it.
        code: ErrorCode,
        /// What was seen.
        reason: String,
    },
    /// Nothing will mend it by itself.
    #[error("{code}: {reason}")]
    Fatal {
        /// The failure's code.
        code: ErrorCode,
        /// What was seen.
        reason: String,
    },
}

impl StepError {
    /// The same without known secrets.
    #[must_use]
    pub fn masked(mut self, mask: &Mask) -> Self {
        let (Self::Retryable { reason, .. } | Self::Fatal { reason, .. }) = &mut self;
        mask.string(reason);
        self
    }

    /// Nothing will mend it by itself.
    pub fn fatal(code: ErrorCode, reason: impl AsRef<str>) -> Self {
        Self::Fatal { code, reason: text::reason(reason.as_ref()) }
    }

    /// Time may mend it.
    pub fn retryable(code: ErrorCode, reason: impl AsRef<str>) -> Self {
        Self::Retryable { code, reason: text::reason(reason.as_ref()) }
    }

    /// The one place where a failed outside call becomes a step's error: `code` names what failed for the user.
    pub fn from_client(code: ErrorCode) -> impl Fn(ClientError) -> Self {
        move |error| {
            let reason = text::reason(&error.to_string());
            match error.kind {
                ErrorKind::Throttled | ErrorKind::Unavailable => Self::Retryable { code, reason },
                ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Denied | ErrorKind::Invalid => {
                    Self::Fatal { code, reason }
                }
            }
        }
    }
}
