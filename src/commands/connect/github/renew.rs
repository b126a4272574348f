//! Renew a GitHub connection: a new token for the same repository and branch. The id stays, and a running deployment reads the connection again before
//! it fails.

use secrecy::SecretString;
use serde_json::json;

use crate::clients::github::GitHub;
use crate::commands::access::require_role;
use crate::commands::connect::error::ConnectError;
use crate::commands::connect::{MAX_RENEWAL_TRIES, record};
use crate::commands::error::CommandError;
use crate::db::connections::renew::GithubTarget;
use crate::db::connections::update::update_github;
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::principal::{Caller, Role};

/// A request to renew a connection. Owner, repository and branch may be given, but not changed.
#[derive(Clone, Debug)]
pub struct GithubRenewal {
    /// The new token.
    pub token: SecretString,
    /// Account or organisation, if given.
    pub owner: Option<String>,
    /// Repository name, if given.
    pub repo: Option<String>,
    /// Branch, if given.
    pub branch: Option<String>,
}

impl GithubRenewal {
    /// Requires that the given fields equal the connection's. GitHub ignores the case of owner and repository.
    fn require_same(&self, id: &str, target: &GithubTarget) -> Result<(), ConnectError> {
        let fields: [(&'static str, &Option<String>, &String, bool); 3] = [
            ("owner", &self.owner, &target.owner, true),
            ("repo", &self.repo, &target.repo, true),
            ("branch", &self.branch, &target.branch, false),
        ];
        for (field, given, connected, ignores_case) in fields {
            let Some(given) = given else { continue };
            if given != connected && !(ignores_case && given.eq_ignore_ascii_case(connected)) {
                let connected = format!("the {field} {connected}");
                return Err(ConnectError::Differs { id: id.to_owned(), field, connected });
            }
        }
        Ok(())
    }
}

/// Replaces the token of a connection of the caller's scope once GitHub confirmed it.
///
/// # Errors
/// The caller's role is too low, its scope has no such connection, the request contradicts it, or GitHub does not confirm or answer.
pub async fn renew(
    db: &Db,
    github: &GitHub,
    id: &str,
    renewal: &GithubRenewal,
    by: &Caller,
) -> Result<GithubTarget, CommandError> {
    require_role(by, Role::Deployer)?;
    let not_found = || ConnectError::NotFound(id.to_owned());
    let target = renewable(db, id, by).await?.ok_or_else(not_found)?;
    renewal.require_same(id, &target)?;
    github.check(&target.owner, &target.repo, &target.branch, &renewal.token).await?;
    replace_token(db, id, &renewal.token, by).await?;
    Ok(target)
}

async fn renewable(db: &Db, id: &str, by: &Caller) -> Result<Option<GithubTarget>, DbError> {
    Ok(db.github_target(id).await?.filter(|target| by.scope().holds(&target.owner, &target.repo)))
}

/// Stores a token that GitHub has confirmed.
///
/// # Errors
/// The caller's scope has no such connection, or it was removed meanwhile.
pub async fn replace_token(db: &Db, id: &str, token: &SecretString, by: &Caller) -> Result<(), CommandError> {
    for _ in 0..MAX_RENEWAL_TRIES {
        let Some(row) = db.github_row(id).await? else { break };
        // Before the transaction, because a key service may be called.
        let key = db.key_of_github(&row).await?;
        let Some(target) = renewable(db, id, by).await? else { break };
        let mut tx = db.begin().await?;
        if update_github(&mut tx, &row, &key, token).await? == 0 {
            continue;
        }
        let repository = Some((target.owner.as_str(), target.repo.as_str()));
        record(&mut tx, by, Action::RenewConnection, id, repository, json!({"branch": target.branch})).await?;
        return Ok(tx.commit().await?);
    }
    Err(ConnectError::NotFound(id.to_owned()).into())
}
