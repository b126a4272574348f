//! Remove a connection: erases its secrets and keeps the row, which past deployments refer to.

use serde_json::json;

use super::error::ConnectError;
use super::record;
use crate::commands::access::require_role;
use crate::commands::error::CommandError;
use crate::db::connections::delete::{erase, lock_aws, lock_github, user};
use crate::db::{Db, PgConnection};
use crate::domain::audit::Action;
use crate::domain::principal::{Caller, Role, Scope};

/// Removes a connection of either kind, unless an unfinished deployment uses it.
///
/// # Errors
/// The caller's role is too low, there is no connection that it may remove, or an unfinished deployment uses it.
pub async fn remove(db: &Db, id: &str, by: &Caller) -> Result<(), CommandError> {
    require_role(by, Role::Deployer)?;
    let mut tx = db.begin().await?;
    let repository = lock(&mut tx, id, by.scope()).await?;
    if let Some(deployment) = user(&mut tx, id).await? {
        return Err(ConnectError::InUse { id: id.to_owned(), deployment }.into());
    }
    erase(&mut tx, id).await?;
    let repository = repository.as_ref().map(|(owner, repo)| (owner.as_str(), repo.as_str()));
    record(&mut tx, by, Action::RemoveConnection, id, repository, json!({})).await?;
    Ok(tx.commit().await?)
}

/// Locks the connection and returns its repository, if it has one. Every repository that a connection to an AWS account serves must be in the scope.
async fn lock(tx: &mut PgConnection, id: &str, scope: &Scope) -> Result<Option<(String, String)>, CommandError> {
    let not_found = || ConnectError::NotFound(id.to_owned());
    if let Some((owner, repo)) = lock_github(tx, id).await? {
        return if scope.holds(&owner, &repo) { Ok(Some((owner, repo))) } else { Err(not_found().into()) };
    }
    match lock_aws(tx, id).await? {
        Some(served) if scope.includes(&served) => Ok(None),
        Some(_) | None => Err(not_found().into()),
    }
}
