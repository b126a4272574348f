//! Reasons for which a schedule cannot be read or changed.

/// Reason why a schedule cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// No schedule with this id exists within the caller's scope.
    #[error("no schedule {0}")]
    NotFound(String),
    /// A concurrent request changed the schedule.
    #[error("schedule {0} was changed concurrently")]
    Changed(String),
}
