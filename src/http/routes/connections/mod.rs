//! `GET /api/v1/connections`: lists connections without their secrets.

pub mod remove;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::connect::aws::error::AwsConnectError;
use crate::db::connections::AwsSummary;
use crate::domain::lang::Lang;
use crate::http::ApiState;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::language::{AskedLang, Labelled};

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
    /// Reason why the connection cannot be used for new deployments, with the remedy; absent when it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "The role of the connection … must be renewed.")]
    pub problem: Option<String>,
}

impl AwsItem {
    fn new(item: AwsSummary, lang: Lang) -> Self {
        let problem = || AwsConnectError::Outdated(item.id.clone()).problem().in_language(lang).detail;
        let problem = item.is_outdated.then(problem);
        Self { connection_id: item.id, region: item.region, problem }
    }
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
    lang: AskedLang,
) -> Result<Labelled<Envelope<ConnectionList>>, ApiError> {
    let github = state.db.github_connections(caller.scope()).await?.into_iter().map(|item| GithubItem {
        connection_id: item.id,
        owner: item.owner,
        repo: item.repo,
        branch: item.branch,
    });
    let aws =
        state.db.aws_connections(caller.scope()).await?.into_iter().map(|item| AwsItem::new(item, lang.of_errors()));
    let list = ConnectionList { github: github.collect(), aws: aws.collect() };
    Ok(Labelled { lang: lang.texts(), body: Envelope::new("연결 정보를 조회했습니다.", list) })
}
