//! Errors of the endpoints of schedules.

use crate::commands::schedules::error::ScheduleError;
use crate::domain::message::message;
use crate::http::error::problem::{Problem, problem_types};

problem_types! {
    ScheduleError:
    NotFound => NOT_FOUND, "SCHEDULE_NOT_FOUND";
    Changed => CONFLICT, "SCHEDULE_CHANGED";
}

impl ScheduleError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let detail = match self {
            Self::NotFound(id) => message!("SCHEDULE_NOT_FOUND.detail", id),
            Self::Changed(id) => message!("SCHEDULE_CHANGED.detail", id),
        };
        Problem::new(self.problem_type(), detail)
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![Self::NotFound("{schedule}".to_owned()), Self::Changed("{schedule}".to_owned())]
    }
}
