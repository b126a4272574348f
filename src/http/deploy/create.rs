//! `POST /api/v1/deploy`: wish for a deployment. The row is the wish; the reconciler does the rest.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::what::{Build, Given, at};
use super::wish::tell;
use crate::db::create::{Created, Made, NewDeployment, Refusal};
use crate::domain::deployment::{Concurrency, Status};
use crate::domain::principal::{Caller, Role};
use crate::domain::request::Requested;
use crate::domain::source::{Choice, ImageHome};
use crate::domain::trace::Trace;
use crate::domain::{ids, validate};
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::{ApiError, AwsProblem};
use crate::http::extract::{JsonBody, is_id};
use crate::http::idempotency::KeyHeader;
use crate::http::problem::Problem;
use crate::http::{ApiState, object};

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
    /// Branch, whose newest commit is deployed; may be another than that of the connection. Exactly one of `branch`, `commit`, `tag` and `image` is
    /// required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "main", min_length = 1, max_length = 244)]
    pub branch: Option<String>,
    /// Commit, by its full id of 40 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8", pattern = "^[0-9a-fA-F]{40}$")]
    pub commit: Option<String>,
    /// Tag; an annotated one stands for its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "v1.2.0", min_length = 1, max_length = 244)]
    pub tag: Option<String>,
    /// An image that is in the target's ECR repository already, by its digest: `sha256:…`, or the whole name before it. Nothing is cloned or built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "123456789012.dkr.ecr.ap-northeast-2.amazonaws.com/acme-shop@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    )]
    pub image: Option<String>,
    /// How to build it; not with `image`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object::optional")]
    pub build: Option<Build>,
    /// Why, for those who look at it later: up to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Prices were wrong", min_length = 1, max_length = 500)]
    pub reason: Option<String>,
    /// What for: `planned` (the default), `hotfix`, `rollback`. Reports tell them apart; nothing else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "planned", pattern = "^(planned|hotfix|rollback)$")]
    pub kind: Option<String>,
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
        validate::repo(&self.repo).map_err(|rule| ApiError::field("repo", rule))
    }

    /// What to deploy, how and why; taken out of the request.
    fn given(&mut self) -> Given {
        Given {
            choice: Choice {
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
            tracing::info!(deployment = %new.id, owner = %new.owner, repo = %new.repo, source = %new.requested.source, "deployment wished for");
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
        Refusal::ConnectionOutdated(id) => AwsProblem::Outdated(id).into(),
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
pub async fn new_deployment(state: &ApiState, caller: &Caller, mut body: Deploy) -> Result<NewDeployment, ApiError> {
    body.validate()?;
    let concurrency = body.concurrency()?;
    let requested = body.given().requested()?;
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
    let home = ImageHome { account_id: &aws.account_id, region: &aws.region, repository: &ecr_repository };
    let requested = at(requested, home)?;
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

/// Refuses names of build secrets that the connection does not have.
async fn check_secrets(state: &ApiState, connection: &str, requested: &Requested) -> Result<(), ApiError> {
    let wanted = &requested.build.secrets;
    if wanted.is_empty() {
        return Ok(());
    }
    let there = state.db.build_secrets(connection).await?;
    let Some(at) = wanted.iter().position(|name| !there.iter().any(|secret| secret.name == *name)) else {
        return Ok(());
    };
    let rule = format!(
        "names no secret of this githubConnectionId; PUT /api/v1/connect/github/{connection}/secrets/{} stores one",
        wanted[at]
    );
    Err(ApiError::field(format!("build.secrets[{at}]"), rule))
}
