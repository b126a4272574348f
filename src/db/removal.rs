//! Connections that are taken away: the secrets go, the row stays for what was deployed with it.

use serde_json::json;
use sqlx::PgConnection;

use super::audit::{self, Entry};
use super::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::principal::{Caller, Scope};

/// What became of the wish to remove a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Nobody can use it any more.
    Now,
    /// This deployment uses it and is not finished.
    InUse(String),
    /// There is none, or not for the caller, or it was removed before.
    Unknown,
}

impl Db {
    /// Removes a connection of either kind, unless an unfinished deployment uses it. A connection to an AWS account is the caller's to remove
    /// when all that may be deployed with it is.
    pub async fn remove_connection(&self, id: &str, by: &Caller) -> Result<Removed, DbError> {
        let mut tx = self.pool.begin().await?;
        let Some(repository) = lock(&mut tx, id, by.scope()).await? else { return Ok(Removed::Unknown) };
        // Whoever starts a deployment holds the row until that is committed (`create::unusable_connection`): none can be missed here.
        let user = sqlx::query_scalar!(
            "SELECT id FROM deployments
             WHERE (github_connection_id = $1 OR aws_connection_id = $1) AND status IN ('RUNNING', 'DEPLOYMENT_READY')
             ORDER BY started_at LIMIT 1",
            id
        )
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(user) = user {
            return Ok(Removed::InUse(user));
        }
        sqlx::query!(
            "UPDATE github_connections
             SET removed_at = now(), token = NULL, token_sealed = NULL, key_id = NULL, wrapped_key = NULL WHERE id = $1",
            id
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!("DELETE FROM github_build_secrets WHERE connection_id = $1", id).execute(&mut *tx).await?;
        sqlx::query!(
            "UPDATE aws_connections
             SET removed_at = now(), secret_access_key = NULL, session_token = NULL, external_id = NULL, key_id = NULL,
                 wrapped_key = NULL, secret_access_key_sealed = NULL, session_token_sealed = NULL, external_id_sealed = NULL
             WHERE id = $1",
            id
        )
        .execute(&mut *tx)
        .await?;
        let repository = repository.as_ref().map(|(owner, repo)| (owner.as_str(), repo.as_str()));
        let entry = Entry {
            by,
            action: Action::RemoveConnection,
            target: Some(id),
            repository,
            refused: None,
            details: json!({}),
        };
        audit::record(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(Removed::Now)
    }
}

/// The connection's repository, if it has one; outer none when there is no such connection for `scope`. Held until the transaction ends.
async fn lock(
    connection: &mut PgConnection,
    id: &str,
    scope: &Scope,
) -> Result<Option<Option<(String, String)>>, DbError> {
    let github =
        sqlx::query!("SELECT owner, repo FROM github_connections WHERE id = $1 AND removed_at IS NULL FOR UPDATE", id)
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(found) = github {
        return Ok(scope.holds(&found.owner, &found.repo).then_some(Some((found.owner, found.repo))));
    }
    let aws = sqlx::query!("SELECT scope FROM aws_connections WHERE id = $1 AND removed_at IS NULL FOR UPDATE", id)
        .fetch_optional(connection)
        .await?;
    Ok(aws.filter(|found| scope.includes(&Scope::from_sql(found.scope.clone()))).map(|_| None))
}
