//! `POST /api/v1/schedules/{id}/run`: runs a schedule immediately.

use axum::extract::State;
use serde_json::{Value, json};

use crate::commands::deploy::CreatedDeployment;
use crate::commands::idempotency::Idempotent;
use crate::commands::schedules::run_now::{StartedRun, run_now};
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::UnreadBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;
use crate::http::routes::deploy::command::notify;
use crate::http::routes::deploy::create::{Deployed, deployed};
use crate::http::routes::schedules::path::ScheduleId;

// ---- Handler

/// Run a schedule now
///
/// Starts the schedule's deployment as the caller's own, even while the schedule is paused. The next scheduled time does not change.
#[utoipa::path(
    post, path = "/api/v1/schedules/{id}/run", tag = "schedules", operation_id = "runSchedule",
    params(("id" = String, Path, description = "Id of the schedule.", example = "sch_4k1zq0v7w3m9x2c8b5n6"), IdempotencyKeyHeader),
    responses(
        (status = 200, description = "Started, now or earlier with the same key.", body = Envelope<Deployed>),
        (status = 400, description = "Invalid Idempotency-Key.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not deploy, may not use these connections, or may not supersede a deployment that is being switched.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such schedule.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another deployment of the same target is unfinished (`deploymentId` names it), a connection was removed, or the ECR repository's name belongs to another source repository.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    ScheduleId(id): ScheduleId,
    key: IdempotencyKeyHeader,
    body: UnreadBody,
) -> Result<Json<Value>, ApiError> {
    let key = key.key_for(&caller, &format!("POST /api/v1/schedules/{id}/run"), &body.0)?;
    let answer =
        |id: &str, made: &CreatedDeployment| json!(Envelope::new("배포가 시작되었습니다.", deployed(id, made)));
    match run_now(&state.db, &id, state.starter(), key.as_ref(), &caller, answer).await? {
        Idempotent::Fresh(StartedRun { answer, deployment, superseded }) => {
            tracing::info!(schedule = %id, %deployment, "schedule run on request");
            for id in std::iter::once(&deployment).chain(&superseded) {
                notify(&state, id).await;
            }
            Ok(Json(answer))
        }
        Idempotent::Replayed(answer) => Ok(Json(answer)),
    }
}
