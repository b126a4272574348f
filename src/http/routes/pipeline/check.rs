//! `GET /api/v1/pipeline/check`: checks an execution against the contract with the pipeline.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::commands::connect::pipeline::check;
use crate::domain::history::{ClauseFinding, ClauseState};
use crate::domain::lang::Lang;
use crate::domain::message::message;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::language::{AskedLang, Labelled};

/// Longest ARN of an execution, in bytes.
const MAX_ARN_BYTES: usize = 512;

// ---- Request

/// Query parameters of the check.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CheckQuery {
    /// ARN of the execution, in the controller's account and region.
    #[param(example = "arn:aws:states:ap-northeast-2:123456789012:execution:panda:1a2b3c4d", max_length = 512)]
    pub execution_arn: String,
}

impl CheckQuery {
    fn arn(self) -> Result<String, ApiError> {
        let arn = self.execution_arn;
        let parts: Vec<&str> = arn.split(':').collect();
        let is_execution = parts.len() >= 8 && parts[0] == "arn" && parts[2] == "states" && parts[5] == "execution";
        let is_plain = arn.len() <= MAX_ARN_BYTES && arn.bytes().all(|byte| byte.is_ascii_graphic());
        if is_execution && is_plain {
            Ok(arn)
        } else {
            Err(ApiError::field("executionArn", message!("rule.execution_arn")))
        }
    }
}

// ---- Response

/// An execution, and the clauses of the contract.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PipelineCheck {
    /// ARN from the request.
    pub execution_arn: String,
    /// Secret in which Panda looks up the latest execution of the repository; null if the input names no repository.
    #[schema(example = "panda/stepfunctions/acme-shop-latest-execution")]
    pub secret: Option<String>,
    /// Number of broken clauses.
    #[schema(example = 0)]
    pub broken: usize,
    /// All clauses, in the order of the document.
    pub clauses: Vec<PipelineClause>,
}

/// A clause of the contract with the pipeline.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PipelineClause {
    /// Stable name, as in the document of the contract.
    #[schema(example = "codeDeploy")]
    pub clause: &'static str,
    /// Demand of the clause.
    pub demand: String,
    /// `kept`, `broken`, or `open`: the execution has not come so far, or the clause depends on a broken one.
    #[schema(example = "kept")]
    pub state: &'static str,
    /// Reason unless it is kept; null otherwise.
    pub reason: Option<String>,
}

impl PipelineClause {
    fn of(finding: &ClauseFinding, lang: Lang) -> Self {
        Self {
            clause: finding.clause,
            demand: finding.demand.text(lang),
            state: finding.state.into(),
            reason: finding.reason.as_ref().map(|reason| reason.text(lang)),
        }
    }
}

// ---- Handler

/// Check an execution of the pipeline
///
/// Reads an execution of Step Functions, its history and the secret of its repository, and reports which clauses of the contract with the pipeline hold
/// (docs/pipeline-contract.md). Changes nothing. Requires the role admin.
#[utoipa::path(
    get, path = "/api/v1/pipeline/check", tag = "pipeline", operation_id = "checkPipeline",
    params(CheckQuery),
    responses(
        (status = 200, description = "The clauses and their states.", body = Envelope<PipelineCheck>),
        (status = 400, description = "No ARN of an execution.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of all repositories.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such execution.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "AWS refuses to read the execution.", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS is unavailable.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    asked: AskedLang,
    QueryParams(query): QueryParams<CheckQuery>,
) -> Result<Labelled<Envelope<PipelineCheck>>, ApiError> {
    let execution_arn = query.arn()?;
    // Boxed: the SDK's calls take kilobytes.
    let checked = Box::pin(check(&state.aws, &state.names, &execution_arn, &caller)).await?;
    let lang = asked.of_errors();
    let clauses = checked.findings.iter().map(|finding| PipelineClause::of(finding, lang)).collect();
    let broken = checked.findings.iter().filter(|finding| finding.state == ClauseState::Broken).count();
    let secret = Some(checked.secret).filter(|secret| !secret.is_empty());
    let data = PipelineCheck { execution_arn, secret, broken, clauses };
    Ok(Labelled { lang: Some(lang), body: Envelope::new("파이프라인 계약을 확인했습니다.", data) })
}
