//! Errors of the endpoints of schedules.

use crate::http::error::problem::{Problem, problem_types};

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

problem_types! {
    ScheduleError:
    NotFound => NOT_FOUND, "SCHEDULE_NOT_FOUND", "There is no such schedule";
    Changed => CONFLICT, "SCHEDULE_CHANGED", "The schedule was changed concurrently";
}

impl ScheduleError {
    pub(in crate::http) fn problem(&self) -> Problem {
        Problem::new(
            self.problem_type(),
            match self {
                Self::NotFound(id) => {
                    format!("There is no schedule {id}. GET /api/v1/schedules lists the existing ones.")
                }
                Self::Changed(id) => format!(
                    "Another request changed the schedule {id} at the same time. Read it again, and repeat your change if it still applies."
                ),
            },
        )
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![Self::NotFound("{schedule}".to_owned()), Self::Changed("{schedule}".to_owned())]
    }
}
