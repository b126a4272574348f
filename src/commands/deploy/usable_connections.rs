//! Connections that a new attempt may use.

use crate::commands::connect::aws::error::AwsConnectError;
use crate::commands::deploy::error::DeployError;
use crate::commands::error::CommandError;
use crate::db::connections::hold::{hold_aws, hold_github};
use crate::db::{DbError, PgConnection};

/// Reason for which no new attempt may use a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnusableConnection {
    /// This connection was removed.
    Removed(String),
    /// This connection is a role with an external id that the caller chose: it may be another tenant's role. Running deployments keep using it.
    Outdated(String),
}

impl From<UnusableConnection> for CommandError {
    fn from(unusable: UnusableConnection) -> Self {
        match unusable {
            UnusableConnection::Removed(id) => DeployError::ConnectionRemoved(id).into(),
            UnusableConnection::Outdated(id) => AwsConnectError::Outdated(id).into(),
        }
    }
}

/// Returns the connection that cannot be used, if any. Locks both rows until the transaction ends: a deletion waits for that, and then sees the new
/// attempt.
pub(in crate::commands) async fn unusable_connection(
    tx: &mut PgConnection,
    github: &str,
    aws: &str,
) -> Result<Option<UnusableConnection>, DbError> {
    if !hold_github(tx, github).await? {
        return Ok(Some(UnusableConnection::Removed(github.to_owned())));
    }
    Ok(match hold_aws(tx, aws).await? {
        None => Some(UnusableConnection::Removed(aws.to_owned())),
        Some(true) => Some(UnusableConnection::Outdated(aws.to_owned())),
        Some(false) => None,
    })
}
