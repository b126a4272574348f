//! Errors of authentication and authorization.

use std::time::Duration;

use crate::clients::ClientError;
use crate::domain::message::{Message, message};
use crate::domain::principal::Role;
use crate::http::error::problem::{Problem, RETRY_AFTER, problem_types};

/// Reason why a caller may not do what it requests.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The request has no valid credential; the text says why.
    #[error("not signed in: {0}")]
    NotSignedIn(Message),
    /// The keys of an OpenID Connect token's issuer could not be fetched.
    #[error("the keys of the token's issuer are unavailable: {0}")]
    IssuerUnavailable(ClientError),
    /// The caller's role is too low.
    #[error("needs the role {needed}, the caller has {role}")]
    NotAllowed {
        /// Minimum role for the request.
        needed: Role,
        /// Role that the caller has.
        role: Role,
    },
    /// The repository is outside the caller's scope.
    #[error("out of scope: {0}")]
    OutOfScope(Message),
    /// The caller opened sessions faster than its limit.
    #[error("too many new sessions of one caller")]
    TooManySessions {
        /// Time until the next session can be opened.
        wait: Duration,
    },
    /// The client signed in, or tried to, more often than its limit.
    #[error("too many sign-ins of one client")]
    TooManySignIns {
        /// Time until the next sign-in.
        wait: Duration,
    },
}

problem_types! {
    AccessError:
    NotSignedIn => UNAUTHORIZED, "NOT_SIGNED_IN";
    IssuerUnavailable => SERVICE_UNAVAILABLE, "ISSUER_UNAVAILABLE";
    NotAllowed => FORBIDDEN, "NOT_ALLOWED";
    OutOfScope => FORBIDDEN, "OUT_OF_SCOPE";
    TooManySessions => TOO_MANY_REQUESTS, "TOO_MANY_SESSIONS";
    TooManySignIns => TOO_MANY_REQUESTS, "TOO_MANY_SIGN_INS";
}

impl AccessError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::IssuerUnavailable(_) => problem.retry_after(RETRY_AFTER),
            Self::TooManySessions { wait } | Self::TooManySignIns { wait } => problem.retry_after_at_least(*wait),
            _ => problem,
        }
    }

    fn detail(&self) -> Message {
        match self {
            Self::NotSignedIn(reason) => message!("NOT_SIGNED_IN.detail", reason = reason.clone()),
            // The log has the cause, which could reveal the server's network.
            Self::IssuerUnavailable(_) => message!("ISSUER_UNAVAILABLE.detail"),
            Self::NotAllowed { needed, role } => {
                message!("NOT_ALLOWED.detail", needed = needed.as_str(), role = role.as_str())
            }
            Self::OutOfScope(what) => message!("OUT_OF_SCOPE.detail", what = what.clone()),
            Self::TooManySessions { .. } => message!("TOO_MANY_SESSIONS.detail"),
            Self::TooManySignIns { .. } => message!("TOO_MANY_SIGN_INS.detail"),
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![
            Self::NotSignedIn(Message::verbatim("{reason}")),
            Self::IssuerUnavailable(ClientError::new(crate::clients::ErrorKind::Unavailable, "", "")),
            Self::NotAllowed { needed: Role::Approver, role: Role::Viewer },
            Self::OutOfScope(Message::verbatim("{repositories}")),
            Self::TooManySessions { wait: Duration::ZERO },
            Self::TooManySignIns { wait: Duration::ZERO },
        ]
    }
}
