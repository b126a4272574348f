//! Build secrets: values that builds of a repository may read. They belong to a connection and are encrypted with its data key, so that key rotation
//! covers them, and deleting the connection's key makes them unreadable.

use secrecy::SecretString;
use serde_json::json;

use super::access::require_role;
use super::connect::error::ConnectError;
use super::error::CommandError;
use crate::db::audit::{self, AuditRecord};
use crate::db::build_secrets::{self, BuildSecretView};
use crate::db::{Db, DbError, PgConnection};
use crate::domain::audit::Action;
use crate::domain::build_spec::MAX_SECRETS;
use crate::domain::principal::{Caller, Role};

/// Stores a build secret under `name`, in place of the present one.
///
/// # Errors
/// The caller's role is too low, its scope has no such connection, or the connection has as many secrets as one build may read.
pub async fn set_build_secret(
    db: &Db,
    connection: &str,
    name: &str,
    value: &SecretString,
    by: &Caller,
) -> Result<BuildSecretView, CommandError> {
    require_role(by, Role::Deployer)?;
    let not_found = || ConnectError::NotFound(connection.to_owned());
    let encrypted = db.encrypt_build_secret(connection, name, value, by.scope()).await?.ok_or_else(not_found)?;
    let mut tx = db.begin().await?;
    let repository = build_secrets::lock(&mut tx, connection).await?.ok_or_else(not_found)?;
    if build_secrets::count_others(&mut tx, connection, name).await? >= MAX_SECRETS {
        return Err(ConnectError::TooManySecrets(connection.to_owned()).into());
    }
    let set = build_secrets::upsert(&mut tx, connection, name, encrypted).await?;
    record(&mut tx, by, Action::SetBuildSecret, (connection, name), &repository).await?;
    tx.commit().await?;
    Ok(set)
}

/// Removes a build secret.
///
/// # Errors
/// The caller's role is too low, its scope has no such connection, or the connection has no such secret.
pub async fn remove_build_secret(db: &Db, connection: &str, name: &str, by: &Caller) -> Result<(), CommandError> {
    require_role(by, Role::Deployer)?;
    let mut tx = db.begin().await?;
    let repository = build_secrets::lock_in(&mut tx, connection, by.scope()).await?;
    let repository = repository.ok_or_else(|| ConnectError::NotFound(connection.to_owned()))?;
    if !build_secrets::delete(&mut tx, connection, name).await? {
        let (connection, name) = (connection.to_owned(), name.to_owned());
        return Err(ConnectError::SecretNotFound { connection, name }.into());
    }
    record(&mut tx, by, Action::RemoveBuildSecret, (connection, name), &repository).await?;
    Ok(tx.commit().await?)
}

async fn record(
    tx: &mut PgConnection,
    by: &Caller,
    action: Action,
    (connection, name): (&str, &str),
    (owner, repo): &(String, String),
) -> Result<(), DbError> {
    let (target, repository) = (Some(connection), Some((owner.as_str(), repo.as_str())));
    let details = json!({"name": name});
    audit::record(tx, &AuditRecord { by, action, target, repository, refused: None, details }).await.map(drop)
}
