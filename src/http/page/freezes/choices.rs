//! Scopes that the form of a freeze suggests.

use std::collections::BTreeSet;

use crate::commands::freezes::require_admin_of;
use crate::db::DbError;
use crate::domain::freeze::FreezeScope;
use crate::domain::principal::{Caller, Scope};
use crate::http::ApiState;

/// Returns the scopes of the connected repositories and accounts, and those that the caller's scope names, as far as the caller may freeze them.
///
/// # Errors
/// The database is unavailable.
pub async fn scope_choices(state: &ApiState, caller: &Caller) -> Result<Vec<String>, DbError> {
    let (mut owners, mut repositories, mut accounts, mut regions) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for connection in state.db.github_connections(caller.scope()).await? {
        owners.insert(connection.owner.to_ascii_lowercase());
        repositories.insert(format!("{}/{}", connection.owner, connection.repo).to_ascii_lowercase());
    }
    if let Scope::Repositories(names) = caller.scope() {
        for (owner, repo) in names.iter().filter_map(|name| name.split_once('/')) {
            owners.insert(owner.to_owned());
            if repo != "*" {
                repositories.insert(format!("{owner}/{repo}"));
            }
        }
    }
    for connection in state.db.aws_connections(caller.scope()).await? {
        accounts.insert(connection.account_id);
        regions.insert(connection.region);
    }
    let named =
        |kind: &'static str, names: BTreeSet<String>| names.into_iter().map(move |name| format!("{kind}:{name}"));
    let all = std::iter::once("all".to_owned())
        .chain(named("owner", owners))
        .chain(named("repository", repositories))
        .chain(named("account", accounts))
        .chain(named("region", regions));
    let may = |text: &String| text.parse::<FreezeScope>().is_ok_and(|scope| require_admin_of(caller, &scope).is_ok());
    Ok(all.filter(may).collect())
}
