//! Errors of the checks before every endpoint, and of their limits.

use std::time::Duration;

use crate::domain::message::{Message, message};
use crate::http::error::problem::{Problem, RETRY_AFTER, problem_types};

/// Reason why a request is not admitted, or not finished.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The request has no host, two, an invalid one, or another one than its target.
    #[error("invalid host: {0}")]
    BadHost(Message),
    /// A page of a foreign origin sent a changing request.
    #[error("changing request from a page of another origin")]
    OriginNotAllowed,
    /// The client, or its token, exceeded a rate limit.
    #[error("over {rate} requests per second from one {of}")]
    TooManyRequests {
        /// Kind of the limited key: `address` or `token`.
        of: &'static str,
        /// Sustained limit, in requests per second.
        rate: u32,
        /// Time until the next request is accepted.
        wait: Duration,
    },
    /// The caller has reached the limit of concurrent expensive requests.
    #[error("the caller has {limit} reports running")]
    TooManyOfCaller {
        /// Concurrent reports that one caller may run.
        limit: usize,
    },
    /// The handler exceeded the request's time limit.
    #[error("no answer within {} s", limit.as_secs_f64())]
    TimedOut {
        /// Time limit that the request exceeded.
        limit: Duration,
    },
}

problem_types! {
    AdmissionError:
    BadHost => BAD_REQUEST, "BAD_HOST";
    OriginNotAllowed => FORBIDDEN, "ORIGIN_NOT_ALLOWED";
    TooManyRequests => TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS";
    TooManyOfCaller => SERVICE_UNAVAILABLE, "REPORTS_BUSY";
    TimedOut => SERVICE_UNAVAILABLE, "REQUEST_TIMED_OUT";
}

impl AdmissionError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::TooManyRequests { wait, .. } => problem.retry_after_at_least(*wait),
            Self::TooManyOfCaller { .. } | Self::TimedOut { .. } => problem.retry_after(RETRY_AFTER),
            Self::BadHost(_) | Self::OriginNotAllowed => problem,
        }
    }

    fn detail(&self) -> Message {
        match self {
            Self::BadHost(reason) => message!("BAD_HOST.detail", reason = reason.clone()),
            Self::OriginNotAllowed => message!("ORIGIN_NOT_ALLOWED.detail"),
            Self::TooManyRequests { of, rate, .. } => {
                let of = if *of == "token" { "TOO_MANY_REQUESTS.token" } else { "TOO_MANY_REQUESTS.address" };
                message!("TOO_MANY_REQUESTS.detail", of = Message::new(of), rate = *rate)
            }
            Self::TooManyOfCaller { limit } => message!("REPORTS_BUSY.detail", limit = *limit),
            Self::TimedOut { limit } => message!("REQUEST_TIMED_OUT.detail", seconds = limit.as_secs_f64()),
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![
            Self::BadHost(Message::verbatim("{reason}")),
            Self::OriginNotAllowed,
            Self::TooManyRequests { of: "address", rate: 100, wait: Duration::ZERO },
            Self::TooManyOfCaller { limit: 2 },
            Self::TimedOut { limit: Duration::from_mins(1) },
        ]
    }
}
