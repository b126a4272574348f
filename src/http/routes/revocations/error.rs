//! Errors of the endpoints of revocations.

use crate::commands::revocations::error::RevocationError;
use crate::domain::message::message;
use crate::http::error::problem::{Problem, problem_types};

problem_types! {
    RevocationError:
    NotFound => NOT_FOUND, "REVOCATION_NOT_FOUND";
}

impl RevocationError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let Self::NotFound(id) = self;
        Problem::new(self.problem_type(), message!("REVOCATION_NOT_FOUND.detail", id))
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![Self::NotFound("{revocation}".to_owned())]
    }
}
