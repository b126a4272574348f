//! `POST /api/v1/deploy`: wish for a deployment. The row is the wish; the reconciler does the rest.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wish::tell;
use crate::db::create::{Created, Made, NewDeployment, Refusal};
use crate::domain::deployment::{Concurrency, Status};
use crate::domain::principal::{Caller, Role};
use crate::domain::trace::Trace;
use crate::domain::{ids, validate};
use crate::http::ApiState;
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::{JsonBody, is_id};
use crate::http::idempotency::KeyHeader;
use crate::http::problem::Problem;

/// Method and path, under which keys are kept.
const PATH: &str = "POST /api/v1/deploy";

// ---- What it takes

/// What to deploy, and where.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Deploy {
    /// The connection to the source.
    #[schema(example = "gh_4k1zq0v7w3m9x2c8b5n6")]
    pub github_connection_id: String,
    /// The connection to the AWS account.
    #[schema(example = "aws_4k1zq0v7w3m9x2c8b5n6")]
    pub aws_connection_id: String,
    /// Account or organisation; that of the GitHub connection.
    #[schema(example = "acme", min_length = 1, max_length = 39)]
    pub owner: String,
    /// Repository; that of the GitHub connection.
    #[schema(example = "shop", min_length = 1, max_length = 100)]
    pub repo: String,
    /// Branch; may be another than that of the connection.
    #[schema(example = "main", min_length = 1, max_length = 244)]
    pub branch: String,
    /// What to do when another deployment of the same repository, AWS account and region is not finished: `reject` (409, the
    /// default), `queue` (wait for its turn, in order), `supersede` (cancel all that are there, and start when they have ended).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "queue", pattern = "^(reject|queue|supersede)$")]
    pub concurrency: Option<String>,
}

impl Deploy {
    fn concurrency(&self) -> Result<Concurrency, ApiError> {
        let asked = self.concurrency.as_deref().map_or(Ok(Concurrency::default()), str::parse);
        asked.map_err(|rule| ApiError::field("concurrency", rule))
    }

    fn validate(&self) -> Result<(), ApiError> {
        validate::owner(&self.owner).map_err(|rule| ApiError::field("owner", rule))?;
        validate::repo(&self.repo).map_err(|rule| ApiError::field("repo", rule))?;
        validate::branch(&self.branch).map_err(|rule| ApiError::field("branch", rule))
    }
}

// ---- What it answers

/// The new deployment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deployed {
    /// Names the deployment from now on.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Where to listen.
    #[schema(example = "Deployment started. Listen to /api/v1/deploy/dep_4k1zq0v7w3m9x2c8b5n6/events")]
    pub message: String,
    /// When it started (UTC).
    #[schema(example = "2026-01-31T09:30:00.123456Z")]
    pub started_at: DateTime<Utc>,
    /// Always `RUNNING`.
    #[schema(value_type = String, example = "RUNNING")]
    pub status: Status,
    /// Its place in the queue, from 1; absent when it does not have to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1)]
    pub queue_position: Option<i64>,
}

// ---- The handler

/// Start a deployment
///
/// With an `Idempotency-Key`, a repeated request gives the answer of the first and starts nothing.
#[utoipa::path(
    post, path = "/api/v1/deploy", tag = "deployments", operation_id = "deploy",
    request_body = Deploy,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, new for each new request.",
            example = "3f2b6c1e-5d0f-4a53-9d53-6f8f2a1c7e10", max_length = 255),
           ("traceparent" = Option<String>, Header, description = "W3C Trace Context: the deployment's spans join this trace. What is not one is ignored.",
            example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
    responses(
        (status = 200, description = "Started, or started before with this key.", body = Envelope<Deployed>),
        (status = 400, description = "Malformed JSON, or a field is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not deploy, or not supersede what is being switched.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another deployment of the same target is not finished (`deploymentId` names it), or the ECR repository's name belongs to another source repository.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Deployer>,
    key: KeyHeader,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Deploy>,
) -> Result<Json<Value>, ApiError> {
    let key = key.of(&caller, PATH, &json!(body))?;
    let trace = headers.get("traceparent").and_then(|header| Trace::of_header(header.to_str().ok()?));
    let new = NewDeployment { trace, ..new_deployment(&state, &caller, body).await? };
    let answer = |made: &Made| json!(Envelope::new("배포가 시작되었습니다.", deployed(&new.id, made)));
    match state.db.create_deployment(&new, key.as_ref(), &caller, answer).await? {
        Created::New(made) => {
            tracing::info!(deployment = %new.id, owner = %new.owner, repo = %new.repo, branch = %new.branch, "deployment wished for");
            for id in std::iter::once(&new.id).chain(&made.superseded) {
                tell(&state, id).await;
            }
            Ok(Json(answer(&made)))
        }
        Created::Repeated(answer) => Ok(Json(answer)),
        Created::KeyReused => Err(ApiError::IdempotencyKeyReused),
        Created::Refused(refusal) => Err(refused(refusal, new.ecr_repository, &caller)),
    }
}

/// Why there is no new deployment.
pub fn refused(refusal: Refusal, ecr_repository: String, caller: &Caller) -> ApiError {
    match refusal {
        Refusal::TargetTaken(other) => ApiError::TargetTaken { other, retry_of: None },
        Refusal::NameTaken { owner, repo } => ApiError::RepositoryNameTaken {
            ecr_repository,
            other: caller.scope().holds(&owner, &repo).then(|| format!("{owner}/{repo}")),
        },
        Refusal::NeedsApprover => ApiError::NotAllowed { needed: Role::Approver, role: caller.principal.role },
        Refusal::ConnectionRemoved(id) => ApiError::ConnectionRemoved(id),
    }
}

/// The answer.
pub fn deployed(id: &str, made: &Made) -> Deployed {
    Deployed {
        deployment_id: id.to_owned(),
        message: format!("Deployment started. Listen to /api/v1/deploy/{id}/events"),
        started_at: made.started_at,
        status: Status::Running,
        queue_position: made.queue_position,
    }
}

/// The row, after all that it names was found to be there and to belong together.
pub async fn new_deployment(state: &ApiState, caller: &Caller, body: Deploy) -> Result<NewDeployment, ApiError> {
    body.validate()?;
    let concurrency = body.concurrency()?;
    let unknown = |field, connect| {
        ApiError::field(
            field,
            format!(
                "names no connection that you may use for this; POST /api/v1/connect/{connect} makes one, GET /api/v1/connections lists them"
            ),
        )
    };
    let unknown_github = || unknown("githubConnectionId", "github");
    let unknown_aws = || unknown("awsConnectionId", "aws");
    if !is_id(&body.github_connection_id) {
        return Err(unknown_github());
    }
    if !is_id(&body.aws_connection_id) {
        return Err(unknown_aws());
    }
    let github = state.db.github_connection(&body.github_connection_id).await?;
    let github =
        github.filter(|github| caller.scope().holds(&github.owner, &github.repo)).ok_or_else(unknown_github)?;
    let (id, owner, repo) = (&body.aws_connection_id, &github.owner, &github.repo);
    if !state.db.is_aws_connection_for(id, caller.scope(), owner, repo).await? {
        return Err(unknown_aws());
    }
    let aws = state.db.aws_connection(&body.aws_connection_id).await?.ok_or_else(unknown_aws)?;
    for (field, given, connected) in [("owner", &body.owner, &github.owner), ("repo", &body.repo, &github.repo)] {
        // GitHub ignores case.
        if !given.eq_ignore_ascii_case(connected) {
            return Err(ApiError::field(
                field,
                format!("must be {connected}, the one of this githubConnectionId; or connect another"),
            ));
        }
    }
    let ecr_repository =
        state.names.ecr_repository(&github.owner, &github.repo).map_err(|rule| ApiError::field("repo", rule))?;
    Ok(NewDeployment {
        id: ids::deployment_id(),
        owner: github.owner,
        repo: github.repo,
        branch: body.branch,
        github_connection_id: github.id,
        aws_connection_id: aws.id,
        account_id: aws.account_id,
        region: aws.region,
        ecr_repository,
        concurrency,
        trace: None,
        first_step: state.first_step.to_owned(),
    })
}
