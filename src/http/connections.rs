//! `GET /api/v1/connections`: what is connected, without any secret.

pub mod remove;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::{Allowed, Viewer};
use super::envelope::Envelope;
use super::error::{ApiError, AwsProblem};
use crate::db::connections::AwsSummary;

// ---- What it answers

/// All connections, the one connected or renewed last first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Connections {
    /// Source repositories.
    pub github: Vec<GithubItem>,
    /// AWS accounts.
    pub aws: Vec<AwsItem>,
}

/// A connected source repository.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GithubItem {
    /// Names the connection when deploying.
    #[schema(example = "gh_4k1zq0v7w3m9x2c8b5n6")]
    pub connection_id: String,
    /// Account or organisation on GitHub.
    #[schema(example = "acme")]
    pub owner: String,
    /// Repository.
    #[schema(example = "shop")]
    pub repo: String,
    /// Branch that was checked when connecting.
    #[schema(example = "main")]
    pub branch: String,
}

/// A connected AWS account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsItem {
    /// Names the connection when deploying.
    #[schema(example = "aws_4k1zq0v7w3m9x2c8b5n6")]
    pub connection_id: String,
    /// Region to deploy to.
    #[schema(example = "ap-northeast-2")]
    pub region: String,
    /// Why nothing new can be deployed with it, and what to do; absent where there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "The role of the connection … has to be renewed.")]
    pub problem: Option<String>,
}

impl From<AwsSummary> for AwsItem {
    fn from(item: AwsSummary) -> Self {
        let problem = item.is_outdated.then(|| ApiError::from(AwsProblem::Outdated(item.id.clone())).problem().detail);
        Self { connection_id: item.id, region: item.region, problem }
    }
}

// ---- The handler

/// List the connections
///
/// The one connected or renewed last comes first.
#[utoipa::path(
    get, path = "/api/v1/connections", tag = "connections", operation_id = "listConnections",
    responses(
        (status = 200, description = "All connections.", body = Envelope<Connections>),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Viewer>,
) -> Result<Envelope<Connections>, ApiError> {
    let github = state.db.github_connections(caller.scope()).await?.into_iter().map(|item| GithubItem {
        connection_id: item.id,
        owner: item.owner,
        repo: item.repo,
        branch: item.branch,
    });
    let aws = state.db.aws_connections(caller.scope()).await?.into_iter().map(AwsItem::from);
    Ok(Envelope::new("연결 정보를 조회했습니다.", Connections { github: github.collect(), aws: aws.collect() }))
}
