//! `GET /api/v1/log`: what is logged.

pub mod reset;
pub mod set;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::{Admin, Allowed};
use super::envelope::Envelope;
use super::error::ApiError;
use super::problem::Problem;
use crate::db::log_filter::SetFilter;
use crate::domain::principal::{Caller, Scope};

// ---- What it answers

/// What is logged.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// The filter that rules.
    #[schema(example = "info,panda::reconcile=debug")]
    pub filter: String,
    /// The filter that rules while nobody sets another: that of the replica that answers.
    #[schema(example = "info")]
    pub default: String,
    /// When every replica goes back to its own (UTC); null when its own rules.
    pub until: Option<DateTime<Utc>>,
    /// Who set it.
    #[schema(example = "alice")]
    pub set_by: Option<String>,
    /// When it was set (UTC).
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

/// Lines are of all repositories.
fn for_all(caller: &Caller) -> Result<(), ApiError> {
    if *caller.scope() == Scope::All { Ok(()) } else { Err(ApiError::OutOfScope("all repositories".to_owned())) }
}

// ---- The handler

/// What is logged
///
/// The filter that rules, until when, and who set it. For admins.
#[utoipa::path(
    get, path = "/api/v1/log", tag = "log", operation_id = "log",
    responses(
        (status = 200, description = "The filter.", body = Envelope<Log>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(State(state): State<ApiState>, Allowed { .. }: Allowed<Admin>) -> Result<Envelope<Log>, ApiError> {
    Ok(Envelope::new("로그 필터 조회 성공", Log::new(state.db.log_filter().await?, state.log.own)))
}
