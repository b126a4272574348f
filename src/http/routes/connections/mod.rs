//! `GET /api/v1/connections`: lists connections without their secrets.

pub mod remove;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::ApiState;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;

// ---- Response

/// All connections, the most recently connected or renewed first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectionList {
    /// Connections to source repositories on GitHub.
    pub github: Vec<GithubItem>,
    /// Connections to target accounts on AWS.
    pub aws: Vec<AwsItem>,
}

/// A connected source repository.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GithubItem {
    /// Id of the connection, for deployments.
    #[schema(example = "gh_4k1zq0v7w3m9x2c8b5n6")]
    pub connection_id: String,
    /// Account or organisation on GitHub.
    #[schema(example = "acme")]
    pub owner: String,
    /// Repository name on GitHub, without the owner.
    #[schema(example = "shop")]
    pub repo: String,
    /// Branch that GitHub confirmed on connecting.
    #[schema(example = "main")]
    pub branch: String,
}

/// A connected AWS account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsItem {
    /// Id of the connection, for deployments.
    #[schema(example = "aws_4k1zq0v7w3m9x2c8b5n6")]
    pub connection_id: String,
    /// Region to deploy to.
    #[schema(example = "ap-northeast-2")]
    pub region: String,
    /// Role of the account that EventBridge assumes to put events on the controller's bus; absent when the server's setting applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "arn:aws:iam::123456789012:role/panda-events")]
    pub rule_target_role_arn: Option<String>,
}

// ---- Handler

/// List the connections
///
/// The most recently connected or renewed connection comes first.
#[utoipa::path(
    get, path = "/api/v1/connections", tag = "connections", operation_id = "listConnections",
    responses(
        (status = 200, description = "All connections.", body = Envelope<ConnectionList>),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Viewer>,
) -> Result<Envelope<ConnectionList>, ApiError> {
    let github = state.db.github_connections(caller.scope()).await?.into_iter().map(|item| GithubItem {
        connection_id: item.id,
        owner: item.owner,
        repo: item.repo,
        branch: item.branch,
    });
    let aws = state.db.aws_connections(caller.scope()).await?.into_iter();
    let aws = aws.map(|item| AwsItem {
        connection_id: item.id,
        region: item.region,
        rule_target_role_arn: item.rule_target_role_arn,
    });
    let list = ConnectionList { github: github.collect(), aws: aws.collect() };
    Ok(Envelope::new("연결 정보를 조회했습니다.", list))
}
