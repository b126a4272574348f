//! Connect: stores access to a GitHub repository or an AWS account after the service confirmed it. The checks only read from the services, and run
//! before the transaction.
//!
//! A tenant has one connection of a branch or identity: connecting again renews it. Concurrent requests make one row: the unique indexes refuse a
//! second one, and its request starts over and finds the first one's row.

pub mod aws;
pub mod error;
pub mod github;
pub mod pipeline;
pub mod remove;

use serde_json::Value;

use crate::db::audit::{self, AuditRecord};
use crate::db::{DbError, PgConnection};
use crate::domain::audit::Action;
use crate::domain::principal::Caller;

/// Tries while other requests create or delete the same connection concurrently.
const MAX_TRIES: u32 = 10;

/// Tries of a renewal while the row changes concurrently: it is read again, and then shows the conflict.
const MAX_RENEWAL_TRIES: u32 = 3;

/// A connection that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredConnection {
    /// Connection id, with the prefix `gh_` or `aws_`.
    pub id: String,
    /// True if an existing connection was renewed.
    pub renewed: bool,
}

async fn record(
    tx: &mut PgConnection,
    by: &Caller,
    action: Action,
    target: &str,
    repository: Option<(&str, &str)>,
    details: Value,
) -> Result<(), DbError> {
    audit::record(tx, &AuditRecord { by, action, target: Some(target), repository, refused: None, details })
        .await
        .map(drop)
}

fn contention() -> DbError {
    DbError::Corrupt(format!(
        "the same connection was created or deleted by other requests {MAX_TRIES} times meanwhile; retry the request"
    ))
}
