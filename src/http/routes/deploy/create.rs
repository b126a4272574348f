//! `POST /api/v1/deploy`: starts a deployment by inserting its row, which the reconciler then claims.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::command::notify;
use super::freeze::{FreezeOverride, HeldBy};
use super::requested::{DeployFields, RequestedBuild};
use crate::commands::deploy::resolve::{DeployRequest, UnresolvedDeploy, resolve};
use crate::commands::deploy::{CreatedDeployment, deploy};
use crate::commands::idempotency::Idempotent;
use crate::db::deployments::NewDeployment;
use crate::domain::deployment::{Concurrency, Status};
use crate::domain::freeze::Act;
use crate::domain::labels::Labels;
use crate::domain::message::message;
use crate::domain::principal::Caller;
use crate::domain::source::SourceFields;
use crate::domain::trace::Trace;
use crate::domain::validate;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::{JsonBody, is_id};
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;
use crate::http::time;
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
    /// Labels for reports, up to 8: names of lower-case letters, digits, `-` and `_` (up to 31), values of 1 to 63 characters. They replace those of the
    /// target's policy, name by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"team": "payments"}))]
    pub labels: BTreeMap<String, String>,
    /// Behaviour when another deployment of the same repository, AWS account and region is unfinished: `reject` (answer 409), `queue` (wait in
    /// order), `supersede` (cancel all unfinished ones, and start when they have ended). The server's setting when absent: `reject`, unless
    /// `PANDA_DEFAULT_CONCURRENCY` names another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "queue", pattern = "^(reject|queue|supersede)$")]
    pub concurrency: Option<String>,
    /// Overrides the freezes that would hold the start, for an approver.
    #[serde(
        default,
        rename = "override",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "strict_object::optional"
    )]
    pub freeze_override: Option<FreezeOverride>,
}

impl Deploy {
    fn concurrency(&self, default: Concurrency) -> Result<Concurrency, ApiError> {
        let concurrency = self.concurrency.as_deref().map_or(Ok(default), str::parse);
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
            labels: Labels(std::mem::take(&mut self.labels)),
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
    #[schema(example = "2026-01-31T09:30:00.123Z")]
    #[serde(serialize_with = "time::millis")]
    pub started_at: DateTime<Utc>,
    /// Status of the deployment, always `RUNNING`.
    #[schema(value_type = String, example = "RUNNING")]
    pub status: Status,
    /// Position in the target's queue, from 1; absent when it is not queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1)]
    pub queue_position: Option<i64>,
    /// The freeze or window that holds the start; absent when none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<HeldBy>,
}

// ---- Handler

/// Start a deployment
///
/// Repeating a request with the same `Idempotency-Key` returns the first response and starts nothing.
#[utoipa::path(
    post, path = "/api/v1/deploy", tag = "deployments", operation_id = "deploy",
    request_body = Deploy,
    params(IdempotencyKeyHeader,
           ("traceparent" = Option<String>, Header, description = "W3C Trace Context: the deployment's spans join this trace. An invalid value is ignored.",
            example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
    responses(
        (status = 200, description = "Started, now or earlier with the same key.", body = Envelope<Deployed>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not deploy, may not supersede a deployment that is being switched, or may not override a freeze.", body = Problem, content_type = "application/problem+json"),
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
    let trace = trace(&headers);
    let new = NewDeployment { trace, ..new_deployment(&state, &caller, body).await? };
    let answer = |made: &CreatedDeployment| json!(Envelope::new("배포가 시작되었습니다.", deployed(&new.id, made)));
    match deploy(&state.db, &new, key.as_ref(), &caller, answer).await? {
        Idempotent::Fresh(made) => {
            tracing::info!(deployment = %new.id, owner = %new.owner, repo = %new.repo, source = %new.requested.source, "deployment requested");
            for id in std::iter::once(&new.id).chain(&made.superseded) {
                notify(&state, id).await;
            }
            Ok(Json(answer(&made)))
        }
        Idempotent::Replayed(answer) => Ok(Json(answer)),
    }
}

/// The caller's trace. Of two headers neither counts, as W3C Trace Context requires.
fn trace(headers: &HeaderMap) -> Option<Trace> {
    let mut lines = headers.get_all("traceparent").iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    Trace::of_header(line.to_str().ok()?)
}

/// Builds the response for a created deployment.
pub fn deployed(id: &str, made: &CreatedDeployment) -> Deployed {
    Deployed {
        deployment_id: id.to_owned(),
        message: format!("Deployment started. Listen to /api/v1/deploy/{id}/events"),
        started_at: made.started_at,
        status: Status::Running,
        queue_position: made.queue_position,
        held_by: made.held.as_ref().map(|hold| HeldBy::new(hold, Act::Start)),
    }
}

/// Validates a request, and resolves it to the row to insert.
///
/// # Errors
/// A field is invalid, or [`resolve`] refuses it.
pub async fn new_deployment(state: &ApiState, caller: &Caller, mut body: Deploy) -> Result<NewDeployment, ApiError> {
    body.validate()?;
    let concurrency = body.concurrency(state.config.default_concurrency)?;
    let requested = body.take_source().validate()?;
    let freeze_override = body.freeze_override.take().map(FreezeOverride::checked).transpose()?;
    // Nothing can have an invalid id.
    for (id, unknown) in
        [(&body.github_connection_id, UnresolvedDeploy::NoGithub), (&body.aws_connection_id, UnresolvedDeploy::NoAws)]
    {
        if !is_id(id) {
            return Err(unknown.into());
        }
    }
    let request = DeployRequest {
        github_connection_id: body.github_connection_id,
        aws_connection_id: body.aws_connection_id,
        owner: body.owner,
        repo: body.repo,
        requested,
        concurrency,
    };
    let new = resolve(&state.db, state.starter(), caller, request).await?;
    Ok(NewDeployment { freeze_override, ..new })
}

impl From<UnresolvedDeploy> for ApiError {
    fn from(unresolved: UnresolvedDeploy) -> Self {
        let unknown = |field, kind: &str| Self::field(field, message!("rule.connection_unknown", kind));
        match unresolved {
            UnresolvedDeploy::NoGithub => unknown("githubConnectionId", "github"),
            UnresolvedDeploy::NoAws => unknown("awsConnectionId", "aws"),
            UnresolvedDeploy::OtherRepository { field, connected } => {
                Self::field(field, message!("rule.as_connected", connected))
            }
            UnresolvedDeploy::Name(rule) => Self::field("repo", rule),
            UnresolvedDeploy::Image(refusal) => refusal.into(),
            UnresolvedDeploy::NoBuildSecret { index, name, connection } => {
                let rule = message!("rule.secret_unknown", connection, name);
                Self::field(format!("build.secrets[{index}]"), rule)
            }
            UnresolvedDeploy::Database(error) => error.into(),
        }
    }
}
