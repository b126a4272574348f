//! Errors of opening an event stream.

use crate::domain::message::{Message, message};
use crate::http::error::problem::{Problem, RETRY_AFTER, problem_types};

/// Reason why an event stream cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The client requested an event stream, but its `Accept` header excludes the media type.
    #[error("the client does not accept text/event-stream")]
    NotAcceptable,
    /// The client has reached its limit of event streams.
    #[error("the client has {limit} event streams")]
    TooManyOfClient {
        /// Event streams that one client may have.
        limit: usize,
    },
    /// The process has reached its limit of event streams.
    #[error("there are {limit} event streams")]
    TooMany {
        /// Event streams that the process may have.
        limit: usize,
    },
}

problem_types! {
    StreamError:
    NotAcceptable => NOT_ACCEPTABLE, "NOT_ACCEPTABLE";
    TooManyOfClient => TOO_MANY_REQUESTS, "TOO_MANY_STREAMS_OF_CLIENT";
    TooMany => TOO_MANY_REQUESTS, "TOO_MANY_STREAMS";
}

impl StreamError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::NotAcceptable => problem,
            Self::TooManyOfClient { .. } | Self::TooMany { .. } => problem.retry_after(RETRY_AFTER),
        }
    }

    fn detail(&self) -> Message {
        match self {
            Self::NotAcceptable => message!("NOT_ACCEPTABLE.detail"),
            Self::TooManyOfClient { limit } => message!("TOO_MANY_STREAMS_OF_CLIENT.detail", limit = *limit),
            Self::TooMany { limit } => message!("TOO_MANY_STREAMS.detail", limit = *limit),
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![Self::NotAcceptable, Self::TooManyOfClient { limit: 100 }, Self::TooMany { limit: 10_000 }]
    }
}
