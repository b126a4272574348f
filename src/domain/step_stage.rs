//! Stages of steps as reports show them.

/// Stage of a step as reports show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepStage {
    /// Stored name of the step.
    pub step: &'static str,
    /// Stage of the step.
    pub stage: &'static str,
    /// Stage of the step once blue/green has begun; none when it does not change.
    pub later_stage: Option<&'static str>,
}
