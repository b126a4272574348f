//! Errors of the database, as clients see them: outages with their cause, faults without it.

use super::problem::{Problem, ProblemType, RETRY_AFTER, problem_type};
use super::server::ServerError;
use crate::db::health::outage_text;
use crate::db::{Busy, DbError};
use crate::domain::keyring::KeyError;
use crate::domain::message::message;

const BUSY: ProblemType = problem_type!(SERVICE_UNAVAILABLE, "DATABASE_BUSY");
const CALLER_BUSY: ProblemType = problem_type!(SERVICE_UNAVAILABLE, "REQUESTS_BUSY");
const UNAVAILABLE: ProblemType = problem_type!(SERVICE_UNAVAILABLE, "DATABASE_UNAVAILABLE");
const NOT_READY: ProblemType = problem_type!(SERVICE_UNAVAILABLE, "DATABASE_UNAVAILABLE", "pending_title");
const KEY_SERVICE_UNAVAILABLE: ProblemType = problem_type!(SERVICE_UNAVAILABLE, "KEY_SERVICE_UNAVAILABLE");

/// A fault, whose cause only the log has.
const INTERNAL: &ServerError = &ServerError::Internal;

/// Every type of problem that a [`DbError`] becomes.
#[cfg(test)]
pub(super) const TYPES: &[ProblemType] = &[BUSY, CALLER_BUSY, UNAVAILABLE, NOT_READY, KEY_SERVICE_UNAVAILABLE];

pub(super) const fn problem_type(error: &DbError) -> ProblemType {
    match error {
        DbError::Busy(Busy::Class { .. }) => BUSY,
        DbError::Busy(Busy::Caller { .. }) => CALLER_BUSY,
        DbError::Unavailable(_) | DbError::Unusable(_) => UNAVAILABLE,
        DbError::SchemaPending(_) => NOT_READY,
        DbError::Key(KeyError::Service { transient: true, .. }) => KEY_SERVICE_UNAVAILABLE,
        DbError::Corrupt(_)
        | DbError::Key(_)
        | DbError::Migrate(_)
        | DbError::TooNew(_)
        | DbError::Predecessor(_)
        | DbError::Unfit(_)
        | DbError::NotificationsUnavailable
        | DbError::Refused(_) => INTERNAL.problem_type(),
    }
}

pub(super) fn problem(error: &DbError) -> Problem {
    let detail = match error {
        DbError::Busy(Busy::Caller { limit }) => message!("REQUESTS_BUSY.detail", limit = *limit),
        DbError::Busy(Busy::Class { class, connections }) => {
            message!("DATABASE_BUSY.detail", class = class.as_str(), connections = *connections)
        }
        DbError::Unavailable(error) => message!("DATABASE_UNAVAILABLE.detail", cause = outage_text(error)),
        DbError::SchemaPending(reason) => message!("DATABASE_UNAVAILABLE.pending", reason = reason.clone()),
        DbError::Unusable(cause) => message!("DATABASE_UNAVAILABLE.detail", cause = cause.message()),
        DbError::Key(KeyError::Service { transient: true, problem, .. }) => {
            message!("KEY_SERVICE_UNAVAILABLE.detail", problem)
        }
        _ => return INTERNAL.problem(),
    };
    Problem::new(problem_type(error), detail).retry_after(RETRY_AFTER)
}

/// Samples that clients see: the others are answered as [`ServerError::Internal`].
#[cfg(test)]
pub(super) fn samples() -> Vec<DbError> {
    use crate::db::Class;
    vec![
        DbError::Busy(Busy::Class { class: Class::Api, connections: 8 }),
        DbError::Busy(Busy::Caller { limit: 2 }),
        DbError::Unavailable(std::sync::Arc::new(sqlx::Error::PoolTimedOut)),
        DbError::SchemaPending(crate::domain::message::Message::verbatim("{reason}")),
        DbError::Key(KeyError::Service { key_id: "{key}".to_owned(), problem: "{reason}".to_owned(), transient: true }),
    ]
}
