//! `POST /api/v1/schedules`: have something deployed by the clock.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Asked, Schedule, ScheduledDeploy};
use crate::db::idempotency::Once;
use crate::domain::ids;
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::JsonBody;
use crate::http::idempotency::KeyHeader;
use crate::http::problem::Problem;
use crate::http::{ApiState, object};

/// Method and path, under which keys are kept.
const PATH: &str = "POST /api/v1/schedules";

// ---- What it takes

/// What to deploy, and when.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewSchedule {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "nightly", min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// When: minute, hour, day of month, month, day of week; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schema(example = "30 6 * * MON-FRI", max_length = 100)]
    pub cron: String,
    /// By whose clock: a name of the IANA database; `UTC` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Asia/Seoul")]
    pub time_zone: Option<String>,
    /// What to deploy each time.
    #[serde(deserialize_with = "object::required")]
    pub deploy: ScheduledDeploy,
    /// What to do when another deployment of the same repository, AWS account and region is not finished: `reject` (that time starts nothing, the
    /// default), `queue`, `supersede`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "queue", pattern = "^(reject|queue|supersede)$")]
    pub concurrency: Option<String>,
    /// What to do about times at which no server was there: `run_once` (one start for all of them, the default), `skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "run_once", pattern = "^(run_once|skip)$")]
    pub missed: Option<String>,
    /// Whether it waits until somebody resumes it; false when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = false)]
    pub paused: Option<bool>,
}

// ---- The handler

/// Make a schedule
///
/// It deploys with the caller's role and for the caller's repositories, until another caller changes it, and stops when the caller's permission
/// ends: with the API token or the admin token, or, signed in with OpenID Connect, when the subject is revoked or the rules no longer give it as much. With an `Idempotency-Key`, a repeated request
/// gives the answer of the first and makes nothing.
#[utoipa::path(
    post, path = "/api/v1/schedules", tag = "schedules", operation_id = "createSchedule",
    request_body = NewSchedule,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, new for each new request; the first answer is kept for 24 hours.",
            example = "3f2b6c1e-5d0f-4a53-9d53-6f8f2a1c7e10", max_length = 255)),
    responses(
        (status = 200, description = "Made, or made before with this key.", body = Envelope<Schedule>),
        (status = 400, description = "Malformed JSON, or a field is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not deploy.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Deployer>,
    key: KeyHeader,
    JsonBody(body): JsonBody<NewSchedule>,
) -> Result<Json<Value>, ApiError> {
    let key = key.of(&caller, PATH, &json!(body))?;
    let asked = Asked {
        name: body.name,
        cron: body.cron,
        time_zone: body.time_zone.unwrap_or_else(|| "UTC".to_owned()),
        deploy: body.deploy,
        concurrency: body.concurrency,
        missed: body.missed,
        paused: body.paused.unwrap_or(false),
    };
    let wanted = asked.check(&state, &caller).await?;
    let id = ids::schedule_id();
    let answer = |made| json!(Envelope::new("배포 일정이 등록되었습니다.", Schedule::from(made)));
    match state.db.create_schedule(&id, &wanted, key.as_ref(), &caller, answer).await? {
        Once::Now(answer) => {
            tracing::info!(schedule = %id, owner = %wanted.owner, repo = %wanted.repo, cron = %wanted.cron, "a schedule was made");
            Ok(Json(answer))
        }
        Once::Repeated(answer) => Ok(Json(answer)),
        Once::KeyReused => Err(ApiError::IdempotencyKeyReused),
    }
}
