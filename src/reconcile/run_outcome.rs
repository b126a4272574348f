//! The ways in which one run of a step ends.

use crate::steps::{StepError, StepOutcome};

/// The outcome of one run of a step.
pub(super) enum RunOutcome {
    /// The step returned an outcome to commit.
    Outcome(Box<StepOutcome>),
    Error(StepError),
    /// The step reached its time limit.
    TimeUp,
    /// A commit in the middle found that another replica owns the deployment.
    OwnershipLost,
    /// The process is shutting down.
    Stopped,
    /// Cancellation of the deployment was requested.
    CancelRequested,
}
