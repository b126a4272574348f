//! `POST /api/v1/connect/aws/{id}/check`: what a deployment with the connection needs, item by item.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::commands::connect::aws::preflight::{CheckedConnection, PreflightContext, check};
use crate::commands::connect::error::ConnectError;
use crate::domain::lang::Lang;
use crate::domain::message::Message;
use crate::domain::preflight::{ItemState, PreflightItem, PreflightVerdict};
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::{QueryParams, is_id};
use crate::http::routes::connect::path::ConnectionId;

// ---- Request

/// Query parameters of the check.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ConnectionCheckQuery {
    /// GitHub connection of the repository to check for. Without it, items that depend on the repository are left out or unknown.
    #[param(max_length = 64)]
    pub github_connection_id: Option<String>,
}

// ---- Response

/// Text in each language.
#[derive(Debug, Serialize, ToSchema)]
pub struct Translations {
    /// The text in Korean.
    #[schema(example = "이미지를 푸시하는 ECR 저장소")]
    pub ko: String,
    /// The text in English.
    #[schema(example = "ECR repository to which images are pushed")]
    pub en: String,
}

impl Translations {
    fn of(message: &Message) -> Self {
        Self { ko: message.text(Lang::Ko), en: message.text(Lang::En) }
    }
}

/// Needs of a deployment, and their states.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionCheck {
    /// Connection that was checked.
    #[schema(example = "aws_4k1zq0v7w3m9x2c8b5n6")]
    pub aws_connection_id: String,
    /// Account of the connection.
    #[schema(example = "210987654321")]
    pub account_id: String,
    /// Region of the connection.
    #[schema(example = "ap-northeast-2")]
    pub region: String,
    /// Repository for which was checked, as `owner/repo`; null without one.
    #[schema(example = "acme/shop")]
    pub repository: Option<String>,
    /// `ready`; `missing`: a required item is missing; or `unknown`: none is known to be missing, but one could not be looked up.
    #[schema(example = "ready")]
    pub state: &'static str,
    /// Number of items by state.
    pub counts: ItemCounts,
    /// Needs of a deployment with their states.
    pub items: Vec<CheckItem>,
}

/// Number of items by state.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemCounts {
    /// Items that are there, or permitted.
    #[schema(example = 48)]
    pub present: usize,
    /// Items that the deployment creates or corrects.
    #[schema(example = 4)]
    pub would_be_created: usize,
    /// Items that are missing, optional ones included.
    #[schema(example = 0)]
    pub missing: usize,
    /// Items that could not be looked up, optional ones included.
    #[schema(example = 0)]
    pub unknown: usize,
}

/// Something that a deployment needs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckItem {
    /// Stable id, unique in the check.
    #[schema(example = "ecrRepository")]
    pub id: String,
    /// `credentials`, `resource`, `permission`, `quota` or `service`.
    #[schema(example = "resource")]
    pub kind: &'static str,
    /// `server`, `source`, `controller` (the account of the event bus) or `user` (the connected account).
    #[schema(example = "user")]
    pub place: &'static str,
    /// Name of the item: an action of IAM, an ARN, a repository.
    #[schema(example = "acme-shop")]
    pub name: String,
    /// `present`, `wouldBeCreated` (or corrected, by a deployment), `missing`, or `unknown`: it could not be looked up.
    #[schema(example = "wouldBeCreated")]
    pub state: &'static str,
    /// False if deployments succeed without it.
    #[schema(example = true)]
    pub required: bool,
    /// Purpose of the item, for people.
    pub text: Translations,
    /// Reason of a state other than `present`; null otherwise.
    pub reason: Option<Translations>,
    /// Steps to resolve it; null for items that are present or would be created.
    pub remedy: Option<Translations>,
    /// Permission for lack of which the item is missing or unknown; null for any other reason.
    #[schema(example = "ecr:DescribeRepositories")]
    pub permission: Option<&'static str>,
}

impl CheckItem {
    fn of(item: &PreflightItem) -> Self {
        Self {
            id: item.id.clone(),
            kind: item.kind.into(),
            place: item.place.into(),
            name: item.name.clone(),
            state: item.state.into(),
            required: item.required,
            text: Translations::of(&item.text),
            reason: item.reason.as_ref().map(Translations::of),
            remedy: item.remedy.as_ref().map(Translations::of),
            permission: item.permission,
        }
    }
}

impl ConnectionCheck {
    fn new(id: String, checked: &CheckedConnection) -> Self {
        let count = |state: ItemState| checked.items.iter().filter(|item| item.state == state).count();
        Self {
            aws_connection_id: id,
            account_id: checked.account_id.clone(),
            region: checked.region.clone(),
            repository: checked.repository.as_ref().map(|(owner, repo)| format!("{owner}/{repo}")),
            state: PreflightVerdict::of(&checked.items).into(),
            counts: ItemCounts {
                present: count(ItemState::Present),
                would_be_created: count(ItemState::WouldBeCreated),
                missing: count(ItemState::Missing),
                unknown: count(ItemState::Unknown),
            },
            items: checked.items.iter().map(CheckItem::of).collect(),
        }
    }
}

// ---- Handler

/// Check what a deployment needs
///
/// Looks up each permission and resource that a deployment with this connection needs: credentials, event bus and its policy, rule, role, ECR repository,
/// state machine, quotas, source repository, builder. Changes nothing, and ends within five seconds: what did not answer until then is `unknown`.
///
/// Each item has its texts in every language. Permissions to change something follow from IAM's simulation of the identity's policies, for which both
/// identities need `iam:SimulatePrincipalPolicy` (`panda iam-policy … --preflight`); without it they are `unknown`.
#[utoipa::path(
    post, path = "/api/v1/connect/aws/{id}/check", tag = "connections", operation_id = "checkConnection",
    params(("id" = String, Path, description = "Id of the connection.", example = "aws_4k1zq0v7w3m9x2c8b5n6"), ConnectionCheckQuery),
    responses(
        (status = 200, description = "All items with their states.", body = Envelope<ConnectionCheck>),
        (status = 403, description = "The caller may not deploy.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such AWS connection that the caller may renew, or deploy this repository with; or no such GitHub connection.",
         body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    ConnectionId(id): ConnectionId,
    QueryParams(query): QueryParams<ConnectionCheckQuery>,
) -> Result<Envelope<ConnectionCheck>, ApiError> {
    let github = query.github_connection_id;
    if let Some(github) = github.as_deref().filter(|github| !is_id(github)) {
        return Err(ConnectError::NotFound(crate::domain::text::cut(github, crate::http::extract::MAX_NAME)).into());
    }
    let context = PreflightContext {
        db: &state.db,
        aws: &state.aws,
        github: &state.github,
        builders: &state.builders,
        names: &state.names,
        settings: &state.preflight,
    };
    // Boxed: the SDK's calls take kilobytes.
    let checked = Box::pin(check(context, &id, github.as_deref(), &caller)).await?;
    let check = ConnectionCheck::new(id, &checked);
    tracing::info!(connection = %check.aws_connection_id, state = check.state, "connection checked");
    Ok(Envelope::new("배포에 필요한 항목을 확인했습니다.", check))
}
