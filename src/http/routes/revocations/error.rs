//! Errors of the endpoints of revocations.

use crate::http::error::problem::{Problem, problem_types};

/// Reason why a revocation cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// No revocation with this id exists.
    #[error("no revocation {0}")]
    NotFound(String),
}

problem_types! {
    RevocationError:
    NotFound => NOT_FOUND, "REVOCATION_NOT_FOUND", "There is no such revocation";
}

impl RevocationError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let Self::NotFound(id) = self;
        Problem::new(
            self.problem_type(),
            format!("There is no revocation {id}. GET /api/v1/revocations lists the existing ones."),
        )
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![Self::NotFound("{revocation}".to_owned())]
    }
}
