//! Errors of opening an event stream.

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
    NotAcceptable => NOT_ACCEPTABLE, "NOT_ACCEPTABLE", "Only an event stream is served here";
    TooManyOfClient => TOO_MANY_REQUESTS, "TOO_MANY_STREAMS_OF_CLIENT", "Too many event streams of this client";
    TooMany => TOO_MANY_REQUESTS, "TOO_MANY_STREAMS", "Too many event streams";
}

impl StreamError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::NotAcceptable => problem,
            Self::TooManyOfClient { .. } | Self::TooMany { .. } => problem.retry_after(RETRY_AFTER),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::NotAcceptable => {
                "Send the header Accept: text/event-stream, or none. For a single answer, use …/result.".to_owned()
            }
            Self::TooManyOfClient { limit } => format!(
                "This address has {limit} event streams, which is the limit. Close some, or follow all deployments in one stream: \
                 GET /api/v1/events. If the server runs behind a proxy, it must trust the proxy \
                 (PANDA_TRUSTED_PROXIES) to distinguish clients."
            ),
            Self::TooMany { limit } => format!(
                "This server has {limit} event streams, which is the limit. Try again in a moment, or poll …/result; \
                 the server's operator can raise PANDA_MAX_STREAMS."
            ),
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![Self::NotAcceptable, Self::TooManyOfClient { limit: 100 }, Self::TooMany { limit: 10_000 }]
    }
}
