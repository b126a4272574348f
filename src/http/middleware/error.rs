//! Errors of the checks before every endpoint, and of their limits.

use std::time::Duration;

use crate::http::error::problem::{Problem, RETRY_AFTER, problem_types};

/// Reason why a request is not admitted, or not finished.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The request has no host, two, an invalid one, or another one than its target.
    #[error("invalid host: {0}")]
    BadHost(&'static str),
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
    BadHost => BAD_REQUEST, "BAD_HOST", "The host is not valid";
    OriginNotAllowed => FORBIDDEN, "ORIGIN_NOT_ALLOWED", "Pages of this origin may not change anything";
    TooManyRequests => TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", "Too many requests";
    TooManyOfCaller => SERVICE_UNAVAILABLE, "REPORTS_BUSY", "Too many concurrent reports";
    TimedOut => SERVICE_UNAVAILABLE, "REQUEST_TIMED_OUT", "There was no answer in time";
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

    fn detail(&self) -> String {
        match self {
            Self::BadHost(why) => {
                format!("The request's host is not valid: {why}. Send one Host header with the name or address of the server, and its port.")
            }
            Self::OriginNotAllowed => {
                "A browser sent this request for a page of another origin. To allow it, the server's operator can add the origin to PANDA_CORS_ORIGINS."
                    .to_owned()
            }
            Self::TooManyRequests { of, rate, .. } => format!(
                "This {of} sent too many requests: the limits are {rate} per second and a burst of ten times as many. Wait as long as Retry-After \
                 says; follow a deployment by its event stream instead of polling its result. If the server runs behind a proxy, it must trust \
                 the proxy (PANDA_TRUSTED_PROXIES) to distinguish clients."
            ),
            Self::TooManyOfCaller { limit } => {
                format!("{limit} of your reports are running, which is the limit for one caller. Wait for their answers before requesting more.")
            }
            Self::TimedOut { limit } => format!(
                "There was no answer within {} s, and the request may or may not have had an effect. Check, or repeat it with the same Idempotency-Key.",
                limit.as_secs_f64()
            ),
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![
            Self::BadHost("{reason}"),
            Self::OriginNotAllowed,
            Self::TooManyRequests { of: "address", rate: 100, wait: Duration::ZERO },
            Self::TooManyOfCaller { limit: 2 },
            Self::TimedOut { limit: Duration::from_mins(1) },
        ]
    }
}
