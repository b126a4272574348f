//! `POST /api/v1/deploy`: starts a deployment by inserting its row, which the reconciler then claims.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::command::notify;
use super::requested::{DeployFields, RequestedBuild, resolve_image};
use crate::db::create::{CreateRefusal, Created, CreatedDeployment, NewDeployment};
use crate::domain::deployment::{Concurrency, Status};
use crate::domain::principal::{Caller, Role};
use crate::domain::request::Requested;
use crate::domain::source::{SourceFields, TargetRepository};
use crate::domain::trace::Trace;
use crate::domain::{ids, validate};
use crate::http::auth::error::AccessError;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::input::InputError;
use crate::http::error::problem::Problem;
use crate::http::extract::{JsonBody, is_id};
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::routes::connect::aws::error::AwsConnectError;
use crate::http::routes::deploy::error::DeployError;
use crate::http::{ApiState, strict_object};

/// Scope of idempotency keys: method and path.
const PATH: &str = "POST /api/v1/deploy";

// ---- Request

/// Source and target of a new deployment.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Deploy {
    /// Id of the GitHub connection with the source.
    #[schema(example = "gh_4k1zq0v7w3m9x2c8b5n6")]
    pub github_connection_id: String,
    /// Id of the AWS connection with the target account.
    #[schema(example = "aws_4k1zq0v7w3m9x2c8b5n6")]
    pub aws_connection_id: String,
    /// Account or organisation of the source; must be that of the GitHub connection.
    #[schema(example = "acme", min_length = 1, max_length = 39)]
    pub owner: String,
    /// Repository of the source; must be that of the GitHub connection.
    #[schema(example = "shop", min_length = 1, max_length = 100)]
    pub repo: String,
    /// Branch whose newest commit is deployed; it may differ from the branch of the connection. Exactly one of `branch`, `commit`, `tag` and `image` is
    /// required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "main", min_length = 1, max_length = 244)]
    pub branch: Option<String>,
    /// Commit to deploy, as 40 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8", pattern = "^[0-9a-fA-F]{40}$")]
    pub commit: Option<String>,
    /// Tag to deploy; an annotated tag stands for its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "v1.2.0", min_length = 1, max_length = 244)]
    pub tag: Option<String>,
    /// Existing image in the target's ECR repository, by digest: `sha256:…`, or the full name with the digest. Nothing is cloned or built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "123456789012.dkr.ecr.ap-northeast-2.amazonaws.com/acme-shop@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    )]
    pub image: Option<String>,
    /// Build options; not allowed with `image`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "strict_object::optional")]
    pub build: Option<RequestedBuild>,
    /// Reason for the deployment, up to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Prices were wrong", min_length = 1, max_length = 500)]
    pub reason: Option<String>,
    /// Purpose: `planned` (the default), `hotfix` or `rollback`. Only reports use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "planned", pattern = "^(planned|hotfix|rollback)$")]
    pub kind: Option<String>,
    /// Behaviour when another deployment of the same repository, AWS account and region is unfinished: `reject` (answer 409, the
    /// default), `queue` (wait in order), `supersede` (cancel all unfinished ones, and start when they have ended).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "queue", pattern = "^(reject|queue|supersede)$")]
    pub concurrency: Option<String>,
}

impl Deploy {
    fn concurrency(&self) -> Result<Concurrency, ApiError> {
        let concurrency = self.concurrency.as_deref().map_or(Ok(Concurrency::default()), str::parse);
        concurrency.map_err(|rule| ApiError::field("concurrency", rule))
    }

    fn validate(&self) -> Result<(), ApiError> {
        validate::owner(&self.owner).map_err(|rule| ApiError::field("owner", rule))?;
        validate::repo(&self.repo).map_err(|rule| ApiError::field("repo", rule))
    }

    /// Moves source, build options, reason and purpose out of the request.
    fn take_source(&mut self) -> DeployFields {
        DeployFields {
            choice: SourceFields {
                branch: self.branch.take(),
                commit: self.commit.take(),
                tag: self.tag.take(),
                image: self.image.take(),
            },
            build: self.build.take(),
            reason: self.reason.take(),
            kind: self.kind.take(),
        }
    }
}

// ---- Response

/// Id and state of the started deployment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deployed {
    /// Id of the new deployment.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Text with the path of the event stream.
    #[schema(example = "Deployment started. Listen to /api/v1/deploy/dep_4k1zq0v7w3m9x2c8b5n6/events")]
    pub message: String,
    /// Time at which the request was stored (RFC 3339, UTC).
    #[schema(example = "2026-01-31T09:30:00.123456Z")]
    pub started_at: DateTime<Utc>,
    /// Status of the deployment, always `RUNNING`.
    #[schema(value_type = String, example = "RUNNING")]
    pub status: Status,
    /// Position in the target's queue, from 1; absent when it is not queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1)]
    pub queue_position: Option<i64>,
}

// ---- Handler

/// Start a deployment
///
/// Repeating a request with the same `Idempotency-Key` returns the first response and starts nothing.
#[utoipa::path(
    post, path = "/api/v1/deploy", tag = "deployments", operation_id = "deploy",
    request_body = Deploy,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, unique per request.",
            example = "3f2b6c1e-5d0f-4a53-9d53-6f8f2a1c7e10", max_length = 255),
           ("traceparent" = Option<String>, Header, description = "W3C Trace Context: the deployment's spans join this trace. An invalid value is ignored.",
            example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
    responses(
        (status = 200, description = "Started, now or earlier with the same key.", body = Envelope<Deployed>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not deploy, or may not supersede a deployment that is being switched.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another deployment of the same target is unfinished (`deploymentId` names it), or the ECR repository's name belongs to another source repository.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    key: IdempotencyKeyHeader,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Deploy>,
) -> Result<Json<Value>, ApiError> {
    let key = key.key_for(&caller, PATH, &json!(body))?;
    let trace = headers.get("traceparent").and_then(|header| Trace::of_header(header.to_str().ok()?));
    let new = NewDeployment { trace, ..new_deployment(&state, &caller, body).await? };
    let answer = |made: &CreatedDeployment| json!(Envelope::new("배포가 시작되었습니다.", deployed(&new.id, made)));
    match state.db.create_deployment(&new, key.as_ref(), &caller, answer).await? {
        Created::New(made) => {
            tracing::info!(deployment = %new.id, owner = %new.owner, repo = %new.repo, source = %new.requested.source, "deployment requested");
            for id in std::iter::once(&new.id).chain(&made.superseded) {
                notify(&state, id).await;
            }
            Ok(Json(answer(&made)))
        }
        Created::Replayed(answer) => Ok(Json(answer)),
        Created::KeyReused => Err(InputError::IdempotencyKeyReused.into()),
        Created::Refused(refusal) => Err(refusal_error(refusal, new.ecr_repository, &caller)),
    }
}

/// Converts a refusal of the database layer into the error that the caller receives.
pub fn refusal_error(refusal: CreateRefusal, ecr_repository: String, caller: &Caller) -> ApiError {
    match refusal {
        CreateRefusal::TargetTaken(other) => DeployError::TargetTaken { other, retry_of: None }.into(),
        CreateRefusal::NameTaken { owner, repo } => DeployError::RepositoryNameTaken {
            ecr_repository,
            other: caller.scope().holds(&owner, &repo).then(|| format!("{owner}/{repo}")),
        }
        .into(),
        CreateRefusal::NeedsApprover => {
            AccessError::NotAllowed { needed: Role::Approver, role: caller.principal.role }.into()
        }
        CreateRefusal::ConnectionRemoved(id) => DeployError::ConnectionRemoved(id).into(),
        CreateRefusal::ConnectionOutdated(id) => AwsConnectError::Outdated(id).into(),
    }
}

/// Builds the response for a created deployment.
pub fn deployed(id: &str, made: &CreatedDeployment) -> Deployed {
    Deployed {
        deployment_id: id.to_owned(),
        message: format!("Deployment started. Listen to /api/v1/deploy/{id}/events"),
        started_at: made.started_at,
        status: Status::Running,
        queue_position: made.queue_position,
    }
}

/// Validates a request and builds the row to insert.
///
/// # Errors
/// A field is invalid, a connection does not exist or is outside the caller's scope, the repository differs from the GitHub connection's, or a
/// build secret is missing.
pub async fn new_deployment(state: &ApiState, caller: &Caller, mut body: Deploy) -> Result<NewDeployment, ApiError> {
    body.validate()?;
    let concurrency = body.concurrency()?;
    let requested = body.take_source().validate()?;
    let unknown = |field, connect| {
        ApiError::field(
            field,
            format!(
                "names no connection that you may use for this repository; POST /api/v1/connect/{connect} creates one, GET /api/v1/connections lists them"
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
                format!("must be {connected}, as in this githubConnectionId; or create another connection"),
            ));
        }
    }
    let ecr_repository =
        state.names.ecr_repository(&github.owner, &github.repo).map_err(|rule| ApiError::field("repo", rule))?;
    let home = TargetRepository { account_id: &aws.account_id, region: &aws.region, repository: &ecr_repository };
    let requested = resolve_image(requested, home)?;
    check_secrets(state, &github.id, &requested).await?;
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
        concurrency,
        trace: None,
        first_step: state.first_step.to_owned(),
    })
}

/// Checks that the connection has all build secrets that the request names.
async fn check_secrets(state: &ApiState, connection: &str, requested: &Requested) -> Result<(), ApiError> {
    let wanted = &requested.build.secrets;
    if wanted.is_empty() {
        return Ok(());
    }
    let stored = state.db.build_secrets(connection).await?;
    let Some(index) = wanted.iter().position(|name| !stored.iter().any(|secret| secret.name == *name)) else {
        return Ok(());
    };
    let rule = format!(
        "is not a build secret of this githubConnectionId; PUT /api/v1/connect/github/{connection}/secrets/{} stores one",
        wanted[index]
    );
    Err(ApiError::field(format!("build.secrets[{index}]"), rule))
}
