//! `POST /api/v1/schedules/{id}/run`: now, whatever the clock says.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::db::create::Made;
use crate::db::schedules::{Refused, Started, Starter, Unusable};
use crate::http::ApiState;
use crate::http::auth::{Allowed, Deployer};
use crate::http::deploy::create::{Deployed, deployed, refused};
use crate::http::deploy::wish::tell;
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::{ScheduleId, UnreadBody};
use crate::http::idempotency::KeyHeader;
use crate::http::problem::Problem;

// ---- The handler

/// Run a schedule now
///
/// Starts what the schedule would, as the caller's own deployment; paused or not. When it is due next stays as it is.
#[utoipa::path(
    post, path = "/api/v1/schedules/{id}/run", tag = "schedules", operation_id = "runSchedule",
    params(("id" = String, Path, description = "The schedule.", example = "sch_4k1zq0v7w3m9x2c8b5n6"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, new for each new request; the first answer is kept for 24 hours.",
            example = "3f2b6c1e-5d0f-4a53-9d53-6f8f2a1c7e10", max_length = 255)),
    responses(
        (status = 200, description = "Started, or started before with this key.", body = Envelope<Deployed>),
        (status = 400, description = "The Idempotency-Key is not valid.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not deploy, not with these connections, or not supersede what is being switched.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such schedule.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another deployment of the same target is not finished (`deploymentId` names it), a connection was removed, or the ECR repository's name belongs to another source repository.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Deployer>,
    ScheduleId(id): ScheduleId,
    key: KeyHeader,
    body: UnreadBody,
) -> Result<Json<Value>, ApiError> {
    let key = key.of(&caller, &format!("POST /api/v1/schedules/{id}/run"), &body.0)?;
    let starter = Starter { names: &state.names, first_step: state.first_step };
    let answer = |id: &str, made: &Made| json!(Envelope::new("배포가 시작되었습니다.", deployed(id, made)));
    match state.db.run_schedule(&id, starter, key.as_ref(), &caller, answer).await? {
        Started::Now { answer, deployment, superseded } => {
            tracing::info!(schedule = %id, %deployment, "a schedule was run out of turn");
            for id in std::iter::once(&deployment).chain(&superseded) {
                tell(&state, id).await;
            }
            Ok(Json(answer))
        }
        Started::Repeated(answer) => Ok(Json(answer)),
        Started::KeyReused => Err(ApiError::IdempotencyKeyReused),
        Started::Unknown => Err(ApiError::ScheduleNotFound(id)),
        Started::Refused(Refused::Deployment(refusal, name)) => Err(refused(refusal, name, &caller)),
        Started::Refused(Refused::Connection(Unusable::Removed(connection))) => {
            Err(ApiError::ConnectionRemoved(connection))
        }
        Started::Refused(Refused::Connection(Unusable::NotFor(connection))) => {
            Err(ApiError::OutOfScope(format!("the connection {connection}")))
        }
        Started::Refused(Refused::Connection(Unusable::Name(rule))) => Err(ApiError::field("repo", rule)),
    }
}
