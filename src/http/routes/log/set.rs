//! `PUT /api/v1/log`: sets the log filter for a limited time.

use std::time::Duration;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Log;
use crate::commands::log_filter::set_log_filter;
use crate::domain::log_filter::{DEFAULT_TIME, LONGEST_TIME, LogFilter};
use crate::domain::message::message;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;

// ---- Request

/// Log filter and its duration.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetLog {
    /// Filter as in `RUST_LOG`: a default level (`error`, `warn`, `info`, `debug`, `trace`), then `target=level` pairs, separated by commas.
    #[schema(example = "info,panda::reconcile=debug", min_length = 1, max_length = 1_000)]
    pub filter: String,
    /// Duration in seconds; 900 when absent.
    #[schema(example = 900, minimum = 1, maximum = 86_400)]
    pub for_seconds: Option<u64>,
}

impl SetLog {
    fn check(&self) -> Result<(LogFilter, Duration), ApiError> {
        let filter = self.filter.parse().map_err(|rule| ApiError::field("filter", rule))?;
        let time = self.for_seconds.map_or(DEFAULT_TIME, Duration::from_secs);
        if time.is_zero() || time > LONGEST_TIME {
            return Err(ApiError::field("forSeconds", message!("rule.log_seconds", max = LONGEST_TIME.as_secs())));
        }
        Ok((filter, time))
    }
}

// ---- Handler

/// Set the log filter
///
/// Takes effect on the replica that answers immediately, on the others within ten seconds, and on replicas that start later. Each replica returns to
/// its configured filter when the time is over. Replaces a filter set before. Requires the role admin and all repositories.
#[utoipa::path(
    put, path = "/api/v1/log", tag = "log", operation_id = "setLog",
    request_body = SetLog,
    responses(
        (status = 200, description = "The filter is set.", body = Envelope<Log>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    JsonBody(body): JsonBody<SetLog>,
) -> Result<Envelope<Log>, ApiError> {
    let (filter, time) = body.check()?;
    let set = set_log_filter(&state.db, &filter, time, &caller).await?;
    // Applies the change on this replica immediately; the others poll every ten seconds.
    state.log.changed.notify_one();
    Ok(Envelope::new("로그 필터가 설정되었습니다.", Log::new(Some(set), state.log.own)))
}
