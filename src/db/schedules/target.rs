//! Target of a scheduled deployment, and the checks that it is still usable.

use sqlx::PgConnection;

use crate::db::DbError;
use crate::db::create::NewDeployment;
use crate::domain::ids;
use crate::domain::names::Names;
use crate::domain::principal::Caller;
use crate::domain::request::Requested;

/// Values that every new deployment needs.
#[derive(Clone, Copy, Debug)]
pub struct Starter<'a> {
    /// Naming rules in AWS.
    pub names: &'a Names,
    /// Name of the first step.
    pub first_step: &'a str,
}

/// Reason for which a schedule's target cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnusableTarget {
    /// This connection was removed.
    Removed(String),
    /// This connection is not for the repository, or not in the scope of the caller or owner.
    NotFor(String),
    /// The repository has a name that ECR does not accept.
    Name(String),
}

/// The deployment's values in a row of `schedules`.
pub(super) struct Target {
    pub(super) id: String,
    pub(super) github_connection_id: String,
    pub(super) aws_connection_id: String,
    pub(super) branch: String,
    pub(super) build: Option<serde_json::Value>,
    pub(super) reason: Option<String>,
    pub(super) kind: String,
    pub(super) concurrency: String,
}

/// Builds the deployment, after checking that everything it names exists and belongs together.
pub(super) async fn new_deployment(
    tx: &mut PgConnection,
    starter: Starter<'_>,
    target: Target,
    by: &Caller,
) -> Result<Result<NewDeployment, UnusableTarget>, DbError> {
    let github = sqlx::query!(
        "SELECT owner, repo FROM github_connections WHERE id = $1 AND removed_at IS NULL",
        target.github_connection_id
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(github) = github else { return Ok(Err(UnusableTarget::Removed(target.github_connection_id))) };
    if !by.scope().holds(&github.owner, &github.repo) {
        return Ok(Err(UnusableTarget::NotFor(target.github_connection_id)));
    }
    let aws = sqlx::query!(
        "SELECT account_id, region, in_scope($2, $3, scope) AND ($4::text[] IS NULL OR scope IS NOT NULL) AS \"usable!\"
         FROM aws_connections WHERE id = $1 AND removed_at IS NULL",
        target.aws_connection_id,
        github.owner,
        github.repo,
        by.scope().sql()
    )
    .fetch_optional(tx)
    .await?;
    let aws = match aws {
        Some(aws) if aws.usable => aws,
        Some(_) => return Ok(Err(UnusableTarget::NotFor(target.aws_connection_id))),
        None => return Ok(Err(UnusableTarget::Removed(target.aws_connection_id))),
    };
    let ecr_repository = match starter.names.ecr_repository(&github.owner, &github.repo) {
        Ok(name) => name,
        Err(rule) => return Ok(Err(UnusableTarget::Name(rule))),
    };
    let requested = Requested::of_row(&target.branch, target.build, target.reason, &target.kind);
    let requested = requested.map_err(DbError::Corrupt)?;
    Ok(Ok(NewDeployment {
        id: ids::deployment_id(),
        owner: github.owner,
        repo: github.repo,
        requested,
        github_connection_id: target.github_connection_id,
        aws_connection_id: target.aws_connection_id,
        account_id: aws.account_id,
        region: aws.region,
        ecr_repository,
        concurrency: target.concurrency.parse().map_err(DbError::Corrupt)?,
        first_step: starter.first_step.to_owned(),
        trace: None,
    }))
}
