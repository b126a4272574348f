//! `GET /api/v1/deploy/{id}/replay`: reads the stored history of a deployment's executions again.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::not_found::not_found;
use crate::db::DbError;
use crate::db::deployments::DeploymentView;
use crate::domain::history::{AttemptEnd, Finding, Published, READER_CODES, replay};
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::routes::deploy::path::DeploymentId;
use crate::http::time;

// ---- Response

/// Stored history events of a deployment, read again by this version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// Id from the request's path.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Number of stored history events; 0 when none are stored, because no execution was followed or retention has removed them.
    #[schema(example = 42)]
    pub stored_events: usize,
    /// Number of findings that differ from what was published.
    #[schema(example = 0)]
    pub differences: usize,
    /// The history events in order, and differences that belong to none.
    pub findings: Vec<ReplayedEvent>,
}

/// One history event with the events that it leads to, or a difference that belongs to no history event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayedEvent {
    /// Attempt that acted on it.
    #[schema(example = 1)]
    pub attempt: i32,
    /// Id of the history event within its execution; null for a difference that belongs to none.
    #[schema(example = 7)]
    pub event_id: Option<i64>,
    /// Type of the history event.
    #[schema(example = "TaskStateExited")]
    pub event_type: Option<String>,
    /// Time of the history event (RFC 3339, UTC).
    #[serde(serialize_with = "time::optional_millis")]
    pub at: Option<DateTime<Utc>>,
    /// Codes of the events that this version produces.
    #[schema(example = json!(["infra_completed"]))]
    pub produced: Vec<String>,
    /// Codes of the events that were published.
    #[schema(example = json!(["infra_completed"]))]
    pub published: Vec<String>,
    /// True when both are equal, with all their details.
    pub equal: bool,
    /// The difference, in English; null when there is none.
    pub difference: Option<String>,
}

impl From<Finding> for ReplayedEvent {
    fn from(found: Finding) -> Self {
        Self {
            attempt: found.attempt,
            event_id: found.event_id,
            event_type: found.event_type,
            at: found.at,
            produced: found.produced,
            published: found.published,
            equal: found.difference.is_none(),
            difference: found.difference,
        }
    }
}

// ---- Handler

/// Read a deployment's history again
///
/// Reads the stored events of the deployment's executions with the reader of this version, and compares the result with the events that were published.
/// Changes nothing. Requires the role admin.
#[utoipa::path(
    get, path = "/api/v1/deploy/{id}/replay", tag = "deployments", operation_id = "replay",
    params(("id" = String, Path, description = "Id of the deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The history events, and what they lead to.", body = Envelope<Replay>),
        (status = 403, description = "The caller is not an admin.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    DeploymentId(id): DeploymentId,
) -> Result<Envelope<Replay>, ApiError> {
    let row = state.db.deployment_in(caller.scope(), &id).await?;
    let Some(row) = row else { return Err(not_found(&state, caller.scope(), id).await) };
    let history = state.db.stored_history(&id).await?;
    let published = published(&state, &id).await?;
    let ends = ends(&state, row).await?;
    let stored_events = history.pieces.iter().map(|piece| piece.events.len()).sum();
    // Without stored events there is nothing to compare.
    let findings = if stored_events == 0 {
        Vec::new()
    } else {
        replay(&state.names, &history.account_id, &history.pieces, &published, &ends)
    };
    let findings: Vec<ReplayedEvent> = findings.into_iter().map(ReplayedEvent::from).collect();
    let differences = findings.iter().filter(|found| !found.equal).count();
    Ok(Envelope::new("이벤트 이력 재현 성공", Replay { deployment_id: id, stored_events, differences, findings }))
}

async fn published(state: &ApiState, id: &str) -> Result<Vec<Published>, DbError> {
    let codes: Vec<String> = READER_CODES.iter().map(|code| code.as_str().to_owned()).collect();
    let events = state.db.events_of(id, &codes).await?;
    let published =
        events.into_iter().map(|event| Published { attempt: event.attempt, code: event.code, params: event.params });
    Ok(published.collect())
}

async fn ends(state: &ApiState, row: DeploymentView) -> Result<Vec<AttemptEnd>, DbError> {
    let past = if row.attempt > 1 { state.db.past_attempts(&row.id).await? } else { Vec::new() };
    let past = past.into_iter().map(|past| AttemptEnd {
        attempt: past.attempt,
        error_code: Some(past.error_code),
        facts: past.facts,
    });
    let present = AttemptEnd { attempt: row.attempt, error_code: row.error_code, facts: row.facts };
    Ok(past.chain([present]).collect())
}
