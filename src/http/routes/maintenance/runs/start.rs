//! `POST /api/v1/maintenance/runs`: requests a maintenance run.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::commands::idempotency::Idempotent;
use crate::commands::maintenance::request_maintenance;
use crate::domain::maintenance::RetentionKind;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;

// ---- Request

/// Kind of data to remove, or only to count.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartMaintenance {
    /// Kind of data: `build_lines`, `events`, `deployments` (to the archive), `workspaces`, `images`, `runs`.
    #[schema(example = "build_lines")]
    pub kind: String,
    /// True to only count what would be removed; false when absent.
    #[serde(default)]
    #[schema(example = true)]
    pub dry_run: bool,
}

// ---- Response

/// Confirms that runs were requested.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceRequested {
    /// Numbers of the runs: one, or one for each live replica when the data is on their machines.
    #[schema(example = json!([4711]))]
    pub runs: Vec<i64>,
    /// Text with the path of the runs.
    #[schema(example = "Requested. GET /api/v1/maintenance/runs?id=4711 shows the progress")]
    pub message: String,
}

impl MaintenanceRequested {
    fn new(runs: &[i64]) -> Self {
        let ids: Vec<String> = runs.iter().map(i64::to_string).collect();
        let message = match ids.as_slice() {
            [] => "No replica is live: nothing to do".to_owned(),
            ids => format!("Requested. GET /api/v1/maintenance/runs?id={} shows the progress", ids.join(",")),
        };
        Self { runs: runs.to_vec(), message }
    }
}

// ---- Handler

/// Run maintenance now
///
/// Removes data that is past its retention, as at the next scheduled time, or only counts it. A replica starts the run within seconds,
/// after a running one of the same kind. Requires the role admin and all repositories.
#[utoipa::path(
    post, path = "/api/v1/maintenance/runs", tag = "maintenance", operation_id = "startMaintenance",
    request_body = StartMaintenance,
    params(IdempotencyKeyHeader),
    responses(
        (status = 200, description = "The run is requested.", body = Envelope<MaintenanceRequested>),
        (status = 400, description = "Malformed JSON, an invalid field, named by `field`, or a kind that is never removed.",
         body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<StartMaintenance>,
) -> Result<Json<Value>, ApiError> {
    let meaning = json!({"kind": body.kind, "dryRun": body.dry_run});
    let key = key.key_for(&caller, "POST /api/v1/maintenance/runs", &meaning)?;
    let kind: RetentionKind = body.kind.parse().map_err(|rule| ApiError::field("kind", rule))?;
    let answer = |runs: &[i64]| json!(Envelope::new("보존 작업이 요청되었습니다.", MaintenanceRequested::new(runs)));
    let run = (kind, body.dry_run);
    let (Idempotent::Fresh(answer) | Idempotent::Replayed(answer)) =
        request_maintenance(&state.db, run, &state.retention, key.as_ref(), &caller, answer).await?;
    // Starts the run on this replica immediately; the others poll every ten seconds.
    state.maintenance.notify_one();
    Ok(Json(answer))
}
