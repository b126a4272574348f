//! Preflight of a connection: looks up each permission and resource that a deployment needs, and changes nothing.
//!
//! All looks run concurrently and end within [`LIMIT`] in total; one that is denied, refused or not answered makes its items unknown and hides no other.
//! Nothing is stored: a crash leaves nothing behind. Permissions follow from the answers to the looks themselves and, where only a change would show
//! them, from IAM's simulation of the identity's own policies. [Decision 0062](../../../../../docs/decisions/0062-preflight.md).

mod controller;
mod looks;
mod outside;
mod permissions;
mod subject;
mod user;

use std::time::Duration;

use tokio::time::Instant;

use self::looks::Looker;
use self::subject::{Subject, newest_rollout};
use super::renew::renewable;
use crate::clients::aws::Aws;
use crate::clients::builder_pool::BuilderPool;
use crate::clients::github::GitHub;
use crate::commands::access::require_role;
use crate::commands::connect::error::ConnectError;
use crate::commands::error::CommandError;
use crate::db::Db;
use crate::domain::connection::{AwsConnection, GithubConnection};
use crate::domain::names::Names;
use crate::domain::preflight::{PreflightItem, PreflightSettings};
use crate::domain::principal::{Caller, Role};
use crate::domain::rollout::RolloutId;

/// Time for all looks of a check together.
const LIMIT: Duration = Duration::from_secs(4);

/// Runs of a check whose connection is renewed meanwhile.
const MAX_RUNS: u32 = 2;

/// Services and settings of a check.
#[derive(Clone, Copy)]
pub struct PreflightContext<'a> {
    /// Database with the connections.
    pub db: &'a Db,
    /// AWS clients for both accounts.
    pub aws: &'a Aws,
    /// Client of the source repository's host.
    pub github: &'a GitHub,
    /// Builders of this replica.
    pub builders: &'a BuilderPool,
    /// Naming rules in AWS.
    pub names: &'a Names,
    /// Settings that decide what is needed.
    pub settings: &'a PreflightSettings,
}

/// Result of the check of a connection.
#[derive(Clone, Debug)]
pub struct CheckedConnection {
    /// Account of the connection.
    pub account_id: String,
    /// Region of the connection.
    pub region: String,
    /// Owner and name of the repository, if the check was for one.
    pub repository: Option<(String, String)>,
    /// Needs of a deployment with their states.
    pub items: Vec<PreflightItem>,
}

/// Checks a connection, and with the id of a GitHub connection what a deployment of its repository needs.
///
/// # Errors
/// The caller's role is too low, or it may not use such a connection. Whatever AWS or GitHub answers is an item.
pub async fn check(
    cx: PreflightContext<'_>,
    id: &str,
    github: Option<&str>,
    by: &Caller,
) -> Result<CheckedConnection, CommandError> {
    require_role(by, Role::Deployer)?;
    let source = source(cx.db, id, github, by).await?;
    let rollout = match &source {
        Some(source) => newest_rollout(cx.db, by, source).await?,
        None => None,
    };
    let deadline = Instant::now() + LIMIT;
    let mut connection = stored(cx.db, id).await?;
    let mut run = 1;
    loop {
        let items = run_looks(cx, &connection, source.as_ref(), rollout.as_ref(), deadline).await;
        let now = stored(cx.db, id).await?;
        // Items about credentials that are no longer the connection's would mislead.
        if now.acts_as(&connection) || run == MAX_RUNS {
            let repository = source.map(|source| (source.owner, source.repo));
            return Ok(CheckedConnection { account_id: now.account_id, region: now.region, repository, items });
        }
        (connection, run) = (now, run + 1);
    }
}

async fn run_looks(
    cx: PreflightContext<'_>,
    connection: &AwsConnection,
    source: Option<&GithubConnection>,
    rollout: Option<&RolloutId>,
    deadline: Instant,
) -> Vec<PreflightItem> {
    let looker = Looker::new(deadline, connection, source);
    let subject = Subject::new(cx, connection, source, rollout);
    // Boxed: the SDK's calls take kilobytes each.
    let (user, controller, outside) = tokio::join!(
        Box::pin(looks::of_user(&looker, &subject)),
        Box::pin(looks::of_controller(&looker, &subject)),
        Box::pin(outside::items(&looker, &subject)),
    );
    let mut items = outside;
    items.extend(controller::items(&subject, &controller));
    items.extend(user::items(&subject, &user, controller.bus.as_ref().ok()));
    items.extend(permissions::items(&subject, &user, &controller, &items));
    items
}

async fn stored(db: &Db, id: &str) -> Result<AwsConnection, CommandError> {
    Ok(db.aws_connection(id).await?.ok_or_else(|| ConnectError::NotFound(id.to_owned()))?)
}

/// The source repository, if the caller may deploy it with the connection. Without one, the caller must be permitted to renew the connection.
async fn source(
    db: &Db,
    id: &str,
    github: Option<&str>,
    by: &Caller,
) -> Result<Option<GithubConnection>, CommandError> {
    let Some(github) = github else {
        renewable(db, id, by).await?;
        return Ok(None);
    };
    let found = db.github_connection(github).await?.filter(|found| by.scope().holds(&found.owner, &found.repo));
    let found = found.ok_or_else(|| ConnectError::NotFound(github.to_owned()))?;
    if !db.is_aws_connection_for(id, by.scope(), &found.owner, &found.repo).await? {
        return Err(ConnectError::NotFound(id.to_owned()).into());
    }
    Ok(Some(found))
}
