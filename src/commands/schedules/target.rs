//! Target of a scheduled deployment, and the checks that it is still usable.

use crate::commands::deploy::Starter;
use crate::commands::deploy::error::DeployError;
use crate::commands::error::CommandError;
use crate::db::deployments::NewDeployment;
use crate::db::schedules::target::{ScheduleTarget, account, repository};
use crate::db::{DbError, PgConnection};
use crate::domain::ids;
use crate::domain::message::{Message, message};
use crate::domain::principal::Caller;
use crate::domain::request::Requested;
use crate::domain::validate::FieldRefusal;

/// Reason for which a schedule's target cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) enum UnusableTarget {
    /// This connection was removed.
    Removed(String),
    /// This connection is not for the repository, or not in the scope of the caller or owner.
    NotFor(String),
    /// The repository has a name that ECR does not accept.
    Name(Message),
}

impl From<UnusableTarget> for CommandError {
    fn from(unusable: UnusableTarget) -> Self {
        match unusable {
            UnusableTarget::Removed(id) => DeployError::ConnectionRemoved(id).into(),
            UnusableTarget::NotFor(id) => Self::OutOfScope(message!("OUT_OF_SCOPE.connection", id)),
            UnusableTarget::Name(rule) => FieldRefusal::new("repo", rule).into(),
        }
    }
}

/// Builds the deployment, after checking that everything it names exists and belongs together.
pub(in crate::commands) async fn new_deployment(
    tx: &mut PgConnection,
    starter: Starter<'_>,
    target: ScheduleTarget,
    by: &Caller,
) -> Result<Result<NewDeployment, UnusableTarget>, DbError> {
    let Some((owner, repo)) = repository(tx, &target.github_connection_id).await? else {
        return Ok(Err(UnusableTarget::Removed(target.github_connection_id)));
    };
    if !by.scope().holds(&owner, &repo) {
        return Ok(Err(UnusableTarget::NotFor(target.github_connection_id)));
    }
    let aws = match account(tx, &target.aws_connection_id, (&owner, &repo), by.scope()).await? {
        Some(aws) if aws.usable => aws,
        Some(_) => return Ok(Err(UnusableTarget::NotFor(target.aws_connection_id))),
        None => return Ok(Err(UnusableTarget::Removed(target.aws_connection_id))),
    };
    let ecr_repository = match starter.names.ecr_repository(&owner, &repo) {
        Ok(name) => name,
        Err(rule) => return Ok(Err(UnusableTarget::Name(rule))),
    };
    let requested = Requested::of_row(&target.branch, target.build, target.reason, &target.kind);
    let requested = Requested { labels: target.labels.0, ..requested.map_err(DbError::Corrupt)? };
    Ok(Ok(NewDeployment {
        id: ids::deployment_id(),
        owner,
        repo,
        requested,
        github_connection_id: target.github_connection_id,
        aws_connection_id: target.aws_connection_id,
        account_id: aws.account_id,
        region: aws.region,
        ecr_repository,
        concurrency: target.concurrency.parse().map_err(DbError::corrupt)?,
        first_step: starter.first_step.to_owned(),
        caused_by: None,
        freeze_override: None,
        trace: None,
    }))
}
