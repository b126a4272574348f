//! `GET /api/v1/log`: shows the log filter.

pub mod reset;
pub mod set;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::log_filter::SetFilter;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::time;

// ---- Response

/// The log filter in force.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// Filter in force on all replicas, or on this one while none is set.
    #[schema(example = "info,panda::reconcile=debug")]
    pub filter: String,
    /// Configured filter of the replica that answers, in force while no other is set.
    #[schema(example = "info")]
    pub default: String,
    /// Time at which every replica returns to its configured filter (UTC); null when it is in force.
    #[serde(serialize_with = "time::optional_millis")]
    pub until: Option<DateTime<Utc>>,
    /// Caller who set the filter.
    #[schema(example = "alice")]
    pub set_by: Option<String>,
    /// Time at which it was set (UTC).
    #[serde(serialize_with = "time::optional_millis")]
    pub set_at: Option<DateTime<Utc>>,
}

impl Log {
    fn new(set: Option<SetFilter>, own: &str) -> Self {
        let default = own.to_owned();
        match set {
            Some(set) => Self {
                filter: set.filter,
                default,
                until: Some(set.until),
                set_by: Some(set.set_by),
                set_at: Some(set.set_at),
            },
            None => Self { filter: default.clone(), default, until: None, set_by: None, set_at: None },
        }
    }
}

// ---- Handler

/// Show the log filter
///
/// Returns the filter in force, its end, and the caller who set it. Requires the role admin.
#[utoipa::path(
    get, path = "/api/v1/log", tag = "log", operation_id = "log",
    responses(
        (status = 200, description = "The log filter.", body = Envelope<Log>),
        (status = 403, description = "The caller is not an admin.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { .. }: RequireRole<Admin>,
) -> Result<Envelope<Log>, ApiError> {
    Ok(Envelope::new("로그 필터 조회 성공", Log::new(state.db.log_filter().await?, state.log.own)))
}
