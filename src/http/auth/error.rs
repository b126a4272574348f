//! Errors of authentication and authorization.

use std::time::Duration;

use crate::clients::ClientError;
use crate::domain::principal::Role;
use crate::http::error::problem::{Problem, RETRY_AFTER, problem_types};

/// Reason why a caller may not do what it requests.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The request has no valid credential; the text says why.
    #[error("not signed in: {0}")]
    NotSignedIn(&'static str),
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
    OutOfScope(String),
    /// The caller opened sessions faster than its limit.
    #[error("too many new sessions of one caller")]
    TooManySessions {
        /// Time until the next session can be opened.
        wait: Duration,
    },
}

problem_types! {
    AccessError:
    NotSignedIn => UNAUTHORIZED, "NOT_SIGNED_IN", "Sign in first";
    IssuerUnavailable => SERVICE_UNAVAILABLE, "ISSUER_UNAVAILABLE", "The token's issuer is unavailable";
    NotAllowed => FORBIDDEN, "NOT_ALLOWED", "The role is too low";
    OutOfScope => FORBIDDEN, "OUT_OF_SCOPE", "Outside your scope";
    TooManySessions => TOO_MANY_REQUESTS, "TOO_MANY_SESSIONS", "Too many sessions";
}

impl AccessError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::IssuerUnavailable(_) => problem.retry_after(RETRY_AFTER),
            Self::TooManySessions { wait } => problem.retry_after_at_least(*wait),
            _ => problem,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::NotSignedIn(why) => format!(
                "You are not signed in: {why}. Send the header Authorization: Bearer TOKEN; `panda token create` creates a token."
            ),
            // The log has the cause, which could reveal the server's network.
            Self::IssuerUnavailable(_) => {
                "The keys of this token's issuer could not be fetched, so the token cannot be verified. Try again in a moment.".to_owned()
            }
            Self::NotAllowed { needed, role } => {
                format!("This needs the role {needed}, and yours is {role}. The server's operator can create a token with that role.")
            }
            Self::OutOfScope(repositories) => {
                format!("Your token does not include {repositories}. The server's operator can create a token that does.")
            }
            Self::TooManySessions { .. } => {
                "This caller opened too many sessions: the limits are six per minute and a burst of thirty. Wait as long as Retry-After says, and reuse \
                 the session's cookie: a session lasts for hours."
                    .to_owned()
            }
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![
            Self::NotSignedIn("{reason}"),
            Self::IssuerUnavailable(ClientError::new(crate::clients::ErrorKind::Unavailable, "", "")),
            Self::NotAllowed { needed: Role::Approver, role: Role::Viewer },
            Self::OutOfScope("{repositories}".to_owned()),
            Self::TooManySessions { wait: Duration::ZERO },
        ]
    }
}
