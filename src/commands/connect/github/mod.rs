//! Connect a GitHub repository.

pub mod renew;

use serde_json::{Value, json};

use super::{MAX_TRIES, StoredConnection, contention, record};
use crate::clients::github::GitHub;
use crate::commands::access::require_role;
use crate::commands::error::CommandError;
use crate::commands::idempotency::{Idempotent, KeyedTransaction, stored_answer};
use crate::db::Db;
use crate::db::connections::insert_github;
use crate::db::connections::update::update_github;
use crate::db::idempotency::IdempotencyKey;
use crate::domain::audit::Action;
use crate::domain::connection::GithubConnection;
use crate::domain::message::Message;
use crate::domain::principal::{Caller, Role};
use crate::domain::tenant::github_tenant;

/// Stores a connection to a repository of the caller's scope once GitHub confirmed repository, branch and token, with `answer` under the key.
///
/// # Errors
/// The caller's role is too low, the repository is outside its scope, or GitHub does not confirm or answer.
pub async fn connect(
    db: &Db,
    github: &GitHub,
    new: &GithubConnection,
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl Fn(&StoredConnection) -> Value,
) -> Result<Idempotent<StoredConnection>, CommandError> {
    require_role(by, Role::Deployer)?;
    if !by.scope().holds(&new.owner, &new.repo) {
        return Err(CommandError::OutOfScope(Message::verbatim(format!("{}/{}", new.owner, new.repo))));
    }
    // Checked before GitHub is called, so that a repeat succeeds even when its token has expired.
    if let Some(answer) = stored_answer(db, key).await? {
        return Ok(Idempotent::Replayed(answer));
    }
    github.check(&new.owner, &new.repo, &new.branch, &new.token).await?;
    store(db, new, key, by, answer).await
}

async fn store(
    db: &Db,
    new: &GithubConnection,
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl Fn(&StoredConnection) -> Value,
) -> Result<Idempotent<StoredConnection>, CommandError> {
    let tenant = github_tenant(by.scope());
    for _ in 0..MAX_TRIES {
        let known = db.same_github(&tenant, new).await?;
        // Before the transaction, because a key service may be called.
        let row_key = match &known {
            Some(row) => db.key_of_github(row).await?,
            None => db.github_row_key(new).await?,
        };
        let mut tx = KeyedTransaction::begin(db, key).await?;
        if let Some(answer) = tx.repeated().await? {
            return Ok(Idempotent::Replayed(answer));
        }
        let rows = match &known {
            Some(row) => update_github(&mut tx, row, &row_key, &new.token).await?,
            None => insert_github(&mut tx, &row_key, new, Some(&tenant)).await?,
        };
        if rows == 0 {
            continue;
        }
        let renewed = known.is_some();
        let stored = StoredConnection { id: known.map_or_else(|| new.id.clone(), |row| row.id), renewed };
        let details = json!({"branch": new.branch, "renewed": stored.renewed});
        let repository = Some((new.owner.as_str(), new.repo.as_str()));
        record(&mut tx, by, Action::ConnectGithub, &stored.id, repository, details).await?;
        tx.commit(&answer(&stored)).await?;
        return Ok(Idempotent::Fresh(stored));
    }
    Err(contention().into())
}
