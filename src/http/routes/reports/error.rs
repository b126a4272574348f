//! Errors of the endpoints of reports.

use crate::domain::message::message;
use crate::http::error::problem::{Problem, problem_types};

/// Reason why a report cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// No report with this name exists.
    #[error("no report {0}")]
    NotFound(String),
}

problem_types! {
    ReportError:
    NotFound => NOT_FOUND, "REPORT_NOT_FOUND";
}

impl ReportError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let Self::NotFound(name) = self;
        Problem::new(self.problem_type(), message!("REPORT_NOT_FOUND.detail", name))
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![Self::NotFound("{report}".to_owned())]
    }
}
