//! Errors of the endpoints of freezes.

use crate::commands::freezes::error::FreezeError;
use crate::domain::freeze::MAX_PENDING;
use crate::domain::message::message;
use crate::http::error::problem::{Problem, problem_types};

problem_types! {
    FreezeError:
    NotFound => NOT_FOUND, "FREEZE_NOT_FOUND";
    TooMany => CONFLICT, "TOO_MANY_FREEZES";
}

impl FreezeError {
    pub(in crate::http) fn problem(&self) -> Problem {
        Problem::new(
            self.problem_type(),
            match self {
                Self::NotFound(id) => message!("FREEZE_NOT_FOUND.detail", id),
                Self::TooMany => message!("TOO_MANY_FREEZES.detail", max = MAX_PENDING),
            },
        )
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![Self::NotFound("{freeze}".to_owned()), Self::TooMany]
    }
}
