//! `POST /api/v1/schedules`: creates a schedule.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Schedule, ScheduleRequest, ScheduledDeploy};
use crate::commands::idempotency::Idempotent;
use crate::commands::schedules::create::create;
use crate::domain::ids;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;
use crate::http::{ApiState, strict_object};

/// Scope of idempotency keys: method and path.
const PATH: &str = "POST /api/v1/schedules";

// ---- Request

/// Times and deployment of a new schedule.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewSchedule {
    /// Display name of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "nightly", min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// Cron expression: minute, hour, day of month, month, day of week; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schema(example = "30 6 * * MON-FRI", max_length = 100)]
    pub cron: String,
    /// Time zone of the cron expression (IANA name); `UTC` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Asia/Seoul")]
    pub time_zone: Option<String>,
    /// Deployment to start each time.
    #[serde(deserialize_with = "strict_object::required")]
    pub deploy: ScheduledDeploy,
    /// Behaviour when another deployment of the same repository, AWS account and region is unfinished: `reject` (start nothing at that time),
    /// `queue`, `supersede`. The server's setting at the time of the request when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "queue", pattern = "^(reject|queue|supersede)$")]
    pub concurrency: Option<String>,
    /// Behaviour for times missed while no server ran: `run_once` (start once for all of them, the default) or `skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "run_once", pattern = "^(run_once|skip)$")]
    pub missed: Option<String>,
    /// True to create the schedule paused; false when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = false)]
    pub paused: Option<bool>,
}

// ---- Handler

/// Create a schedule
///
/// The schedule deploys with the caller's role and for the caller's repositories until another caller changes it. It stops when the caller's
/// permission ends: with the API token or the admin token or, for an OpenID Connect caller, when the subject is revoked or the rules grant less
/// than before. Repeating a request with the same `Idempotency-Key` returns the first response and creates nothing.
#[utoipa::path(
    post, path = "/api/v1/schedules", tag = "schedules", operation_id = "createSchedule",
    request_body = NewSchedule,
    params(IdempotencyKeyHeader),
    responses(
        (status = 200, description = "Created, now or earlier with the same key.", body = Envelope<Schedule>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not deploy.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<NewSchedule>,
) -> Result<Json<Value>, ApiError> {
    let key = key.key_for(&caller, PATH, &json!(body))?;
    let request = ScheduleRequest {
        name: body.name,
        cron: body.cron,
        time_zone: body.time_zone.unwrap_or_else(|| "UTC".to_owned()),
        deploy: body.deploy,
        concurrency: body.concurrency,
        missed: body.missed,
        paused: body.paused.unwrap_or(false),
    };
    let wanted = request.check(&state, &caller).await?;
    let id = ids::schedule_id();
    let answer = |made| json!(Envelope::new("배포 일정이 등록되었습니다.", Schedule::new(made, None)));
    match create(&state.db, &id, &wanted, key.as_ref(), &caller, answer).await? {
        Idempotent::Fresh(answer) => {
            tracing::info!(schedule = %id, owner = %wanted.owner, repo = %wanted.repo, cron = %wanted.cron, "schedule created");
            Ok(Json(answer))
        }
        Idempotent::Replayed(answer) => Ok(Json(answer)),
    }
}
