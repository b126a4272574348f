//! Errors of the database, as clients see them: outages with their cause, faults without it.

use axum::http::StatusCode;

use super::problem::{Problem, ProblemType, RETRY_AFTER};
use super::server::ServerError;
use crate::db::DbError;
use crate::db::health::outage_text;
use crate::domain::keyring::KeyError;

const BUSY: ProblemType = ProblemType::new(StatusCode::SERVICE_UNAVAILABLE, "DATABASE_BUSY", "The database is busy");
const UNAVAILABLE: ProblemType =
    ProblemType::new(StatusCode::SERVICE_UNAVAILABLE, "DATABASE_UNAVAILABLE", "The database is unavailable");
const NOT_READY: ProblemType = ProblemType { title: "The database is not ready", ..UNAVAILABLE };
const KEY_SERVICE_UNAVAILABLE: ProblemType =
    ProblemType::new(StatusCode::SERVICE_UNAVAILABLE, "KEY_SERVICE_UNAVAILABLE", "The key service is unavailable");

/// A fault, whose cause only the log has.
const INTERNAL: &ServerError = &ServerError::Internal;

/// Every type of problem that a [`DbError`] becomes.
#[cfg(test)]
pub(super) const TYPES: &[ProblemType] = &[BUSY, UNAVAILABLE, NOT_READY, KEY_SERVICE_UNAVAILABLE];

pub(super) const fn problem_type(error: &DbError) -> ProblemType {
    match error {
        DbError::Busy(_) => BUSY,
        DbError::Unavailable(_) | DbError::Unusable(_) => UNAVAILABLE,
        DbError::SchemaPending(_) => NOT_READY,
        DbError::Key(KeyError::Service { transient: true, .. }) => KEY_SERVICE_UNAVAILABLE,
        DbError::Corrupt(_)
        | DbError::Key(_)
        | DbError::Migrate(_)
        | DbError::TooNew(_)
        | DbError::Unfit(_)
        | DbError::NotificationsUnavailable
        | DbError::Refused(_) => INTERNAL.problem_type(),
    }
}

pub(super) fn problem(error: &DbError) -> Problem {
    let detail = match error {
        DbError::Busy(busy) => format!(
            "Just now {busy}, and none became free in time. Nothing was lost; send fewer requests concurrently, and try again in a moment."
        ),
        DbError::Unavailable(error) => {
            format!("Just now {}. Nothing was lost; try again in a moment.", outage_text(error))
        }
        DbError::SchemaPending(reason) => {
            format!("The server has no database yet: {reason}. Nothing was stored; try again in a moment.")
        }
        DbError::Unusable(cause) => format!("Just now {cause}. Nothing was lost; try again in a moment."),
        DbError::Key(KeyError::Service { transient: true, problem, .. }) => format!(
            "The service that holds the key for stored secrets could not be reached ({problem}). Nothing was stored; try again."
        ),
        _ => return INTERNAL.problem(),
    };
    Problem::new(problem_type(error), detail).retry_after(RETRY_AFTER)
}

/// Samples that clients see: the others are answered as [`ServerError::Internal`].
#[cfg(test)]
pub(super) fn samples() -> Vec<DbError> {
    use crate::db::{Busy, Class};
    vec![
        DbError::Busy(Busy { class: Class::Api, connections: 8 }),
        DbError::Unavailable(std::sync::Arc::new(sqlx::Error::PoolTimedOut)),
        DbError::SchemaPending("{reason}".to_owned()),
        DbError::Key(KeyError::Service { key_id: "{key}".to_owned(), problem: "{reason}".to_owned(), transient: true }),
    ]
}
