//! Resolves what a caller wants to deploy to the values of a row: connections that the caller may use, the ECR repository, and build secrets that
//! exist.

use super::Starter;
use crate::db::deployments::NewDeployment;
use crate::db::{Db, DbError};
use crate::domain::connection::{AwsConnection, GithubConnection};
use crate::domain::deployment::Concurrency;
use crate::domain::ids;
use crate::domain::principal::Caller;
use crate::domain::request::Requested;
use crate::domain::source::TargetRepository;
use crate::domain::validate::{BrokenRule, FieldRefusal};

/// A deployment as a caller requests it, with valid fields.
#[derive(Clone, Debug)]
pub struct DeployRequest {
    /// Id of the connection to the source repository.
    pub github_connection_id: String,
    /// Id of the connection to the AWS account.
    pub aws_connection_id: String,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// Source revision, build options and reason.
    pub requested: Requested,
    /// Policy for a target that has an unfinished deployment.
    pub concurrency: Concurrency,
}

/// Reason for which a requested deployment names something that does not exist for the caller.
#[derive(Debug, thiserror::Error)]
pub enum UnresolvedDeploy {
    /// The caller may use no such connection to a source repository.
    #[error("no such GitHub connection for the caller")]
    NoGithub,
    /// The caller may use no such connection to an AWS account for the repository.
    #[error("no such AWS connection for the caller")]
    NoAws,
    /// The GitHub connection is for another repository.
    #[error("{field} is {connected} in the GitHub connection")]
    OtherRepository {
        /// Name of the field: `owner` or `repo`.
        field: &'static str,
        /// The connection's value.
        connected: String,
    },
    /// ECR does not accept the repository's name.
    #[error("no ECR repository can have the name: {0}")]
    Name(BrokenRule),
    /// The image is not in the target's repository.
    #[error(transparent)]
    Image(#[from] FieldRefusal),
    /// The GitHub connection has no build secret of this name.
    #[error("no build secret {name} of connection {connection}")]
    NoBuildSecret {
        /// Position of the name in the request.
        index: usize,
        /// Name of the build secret.
        name: String,
        /// Id of the GitHub connection.
        connection: String,
    },
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] DbError),
}

/// Resolves a request by this caller.
///
/// # Errors
/// A connection does not exist or is outside the caller's scope, the repository differs from the GitHub connection's, the image is elsewhere, or a
/// build secret is missing.
pub async fn resolve(
    db: &Db,
    starter: Starter<'_>,
    by: &Caller,
    request: DeployRequest,
) -> Result<NewDeployment, UnresolvedDeploy> {
    let (github, aws) = connections(db, by, &request).await?;
    for (field, given, connected) in [("owner", &request.owner, &github.owner), ("repo", &request.repo, &github.repo)] {
        // GitHub ignores case.
        if !given.eq_ignore_ascii_case(connected) {
            return Err(UnresolvedDeploy::OtherRepository { field, connected: connected.clone() });
        }
    }
    let ecr_repository = starter.names.ecr_repository(&github.owner, &github.repo).map_err(UnresolvedDeploy::Name)?;
    let home = TargetRepository { account_id: &aws.account_id, region: &aws.region, repository: &ecr_repository };
    let requested = Requested { source: request.requested.source.at(home)?, ..request.requested };
    require_build_secrets(db, &github.id, &requested).await?;
    Ok(NewDeployment {
        id: ids::deployment_id(),
        owner: github.owner,
        repo: github.repo,
        requested,
        github_connection_id: github.id,
        aws_connection_id: aws.id,
        account_id: aws.account_id,
        region: aws.region,
        ecr_repository,
        concurrency: request.concurrency,
        caused_by: None,
        freeze_override: None,
        trace: None,
        first_step: starter.first_step.to_owned(),
    })
}

/// Loads the connections, if the caller may use both for the source repository.
async fn connections(
    db: &Db,
    by: &Caller,
    request: &DeployRequest,
) -> Result<(GithubConnection, AwsConnection), UnresolvedDeploy> {
    let github = db.github_connection(&request.github_connection_id).await?;
    let github = github.filter(|github| by.scope().holds(&github.owner, &github.repo));
    let github = github.ok_or(UnresolvedDeploy::NoGithub)?;
    if !db.is_aws_connection_for(&request.aws_connection_id, by.scope(), &github.owner, &github.repo).await? {
        return Err(UnresolvedDeploy::NoAws);
    }
    let aws = db.aws_connection(&request.aws_connection_id).await?.ok_or(UnresolvedDeploy::NoAws)?;
    Ok((github, aws))
}

/// Requires that the connection has all build secrets that the request names.
async fn require_build_secrets(db: &Db, connection: &str, requested: &Requested) -> Result<(), UnresolvedDeploy> {
    let named = &requested.build.secrets;
    if named.is_empty() {
        return Ok(());
    }
    let stored = db.build_secrets(connection).await?;
    let Some(index) = named.iter().position(|name| !stored.iter().any(|secret| secret.name == *name)) else {
        return Ok(());
    };
    Err(UnresolvedDeploy::NoBuildSecret { index, name: named[index].clone(), connection: connection.to_owned() })
}
