//! Connections that a new attempt may use.

use crate::commands::deploy::error::DeployError;
use crate::commands::error::CommandError;
use crate::db::connections::hold::{hold_aws, hold_github};
use crate::db::{DbError, PgConnection};

/// The id of a connection that was removed: no new attempt may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedConnection(pub String);

impl From<RemovedConnection> for CommandError {
    fn from(removed: RemovedConnection) -> Self {
        DeployError::ConnectionRemoved(removed.0).into()
    }
}

/// Returns the connection that was removed, if any. Locks both rows until the transaction ends: a deletion waits for that, and then sees the new
/// attempt.
pub(in crate::commands) async fn removed_connection(
    tx: &mut PgConnection,
    github: &str,
    aws: &str,
) -> Result<Option<RemovedConnection>, DbError> {
    if !hold_github(tx, github).await? {
        return Ok(Some(RemovedConnection(github.to_owned())));
    }
    Ok((!hold_aws(tx, aws).await?).then(|| RemovedConnection(aws.to_owned())))
}
