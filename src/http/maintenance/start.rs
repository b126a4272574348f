//! `POST /api/v1/maintenance/runs`: wish for a run now.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::db::audit::Entry;
use crate::db::idempotency::Once;
use crate::domain::audit::Action;
use crate::domain::maintenance::Kind;
use crate::domain::principal::Scope;
use crate::http::ApiState;
use crate::http::auth::{Admin, Allowed};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::JsonBody;
use crate::http::idempotency::KeyHeader;
use crate::http::problem::Problem;

// ---- What it takes

/// What is to be run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartMaintenance {
    /// `build_lines`, `events`, `deployments` (to the archive), `workspaces`, `images`, `runs`.
    #[schema(example = "build_lines")]
    pub kind: String,
    /// Whether it is only to count what would be removed; false when absent.
    #[serde(default)]
    #[schema(example = true)]
    pub dry_run: bool,
}

// ---- What it answers

/// The run is asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceRequested {
    /// Numbers of the runs: one, or one for each living replica when it is about their machines.
    #[schema(example = json!([4711]))]
    pub runs: Vec<i64>,
    /// Where to look for them.
    #[schema(example = "Requested. GET /api/v1/maintenance/runs?id=4711 tells how it goes")]
    pub message: String,
}

impl MaintenanceRequested {
    fn new(runs: &[i64]) -> Self {
        let ids: Vec<String> = runs.iter().map(i64::to_string).collect();
        let message = match ids.as_slice() {
            [] => "There is no living replica: nothing to do".to_owned(),
            ids => format!("Requested. GET /api/v1/maintenance/runs?id={} tells how it goes", ids.join(",")),
        };
        Self { runs: runs.to_vec(), message }
    }
}

// ---- The handler

/// Run maintenance now
///
/// Removes what is over its retention, as at the next tick of its cron expression; or only counts it. A replica begins it within seconds,
/// after the run of that kind that may be under way. For admins who see all repositories.
#[utoipa::path(
    post, path = "/api/v1/maintenance/runs", tag = "maintenance", operation_id = "startMaintenance",
    request_body = StartMaintenance,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, new for each new request; the first answer is kept for 24 hours.",
            example = "3f2b6c1e-5d0f-4a53-9d53-6f8f2a1c7e10", max_length = 255)),
    responses(
        (status = 200, description = "It is asked for.", body = Envelope<MaintenanceRequested>),
        (status = 400, description = "Malformed JSON, or a field is not valid: `field` names it. What is never removed cannot be run.",
         body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no admin, or not for all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Admin>,
    key: KeyHeader,
    JsonBody(body): JsonBody<StartMaintenance>,
) -> Result<Json<Value>, ApiError> {
    let meaning = json!({"kind": body.kind, "dryRun": body.dry_run});
    let key = key.of(&caller, "POST /api/v1/maintenance/runs", &meaning)?;
    let kind: Kind = body.kind.parse().map_err(|rule: String| ApiError::field("kind", rule))?;
    if *caller.scope() != Scope::All {
        return Err(ApiError::OutOfScope("all repositories".to_owned()));
    }
    if state.retention.iter().any(|rule| rule.kind == kind && rule.is_never()) {
        let option = format!("PANDA_RETENTION_{}", kind.as_str().to_uppercase());
        return Err(ApiError::field("kind", format!("{kind} are kept for ever here; {option} sets an age")));
    }
    let answer = |runs: &[i64]| json!(Envelope::new("보존 작업이 요청되었습니다.", MaintenanceRequested::new(runs)));
    let (action, target) = (Action::RunMaintenance, Some(kind.as_str()));
    let entry = Entry { by: &caller, action, target, repository: None, refused: None, details: meaning };
    let answer = match state.db.request_maintenance(kind, body.dry_run, key.as_ref(), &entry, answer).await? {
        Once::Now(answer) | Once::Repeated(answer) => answer,
        Once::KeyReused => return Err(ApiError::IdempotencyKeyReused),
    };
    // Here at once; other replicas look every ten seconds.
    state.maintenance.notify_one();
    Ok(Json(answer))
}
