//! Errors of the endpoints of API tokens.

use crate::commands::tokens::error::TokenError;
use crate::domain::message::message;
use crate::http::error::problem::{Problem, problem_types};

problem_types! {
    TokenError:
    NotFound => NOT_FOUND, "TOKEN_NOT_FOUND";
}

impl TokenError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let Self::NotFound(id) = self;
        Problem::new(self.problem_type(), message!("TOKEN_NOT_FOUND.detail", id))
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![Self::NotFound("{token}".to_owned())]
    }
}
