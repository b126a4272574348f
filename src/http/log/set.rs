//! `PUT /api/v1/log`: log something else for a while.

use std::time::Duration;

use axum::extract::State;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Log, for_all};
use crate::db::audit::Entry;
use crate::domain::audit::Action;
use crate::domain::log_filter::{DEFAULT_TIME, LONGEST_TIME, LogFilter};
use crate::http::ApiState;
use crate::http::auth::{Admin, Allowed};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::JsonBody;
use crate::http::problem::Problem;

// ---- What it takes

/// What is to be logged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetLog {
    /// As in `RUST_LOG`: a level (`error`, `warn`, `info`, `debug`, `trace`) for all, then `target=level` for some, with commas between.
    #[schema(example = "info,panda::reconcile=debug", min_length = 1, max_length = 1_000)]
    pub filter: String,
    /// For how long, in seconds; 900 when absent.
    #[schema(example = 900, minimum = 1, maximum = 86_400)]
    pub for_seconds: Option<u64>,
}

impl SetLog {
    fn check(&self) -> Result<(LogFilter, Duration), ApiError> {
        let filter = self.filter.parse().map_err(|rule: String| ApiError::field("filter", rule))?;
        let time = self.for_seconds.map_or(DEFAULT_TIME, Duration::from_secs);
        if time.is_zero() || time > LONGEST_TIME {
            let most = LONGEST_TIME.as_secs();
            return Err(ApiError::field("forSeconds", format!("must be from 1 to {most} (a day)")));
        }
        Ok((filter, time))
    }
}

// ---- The handler

/// Log something else for a while
///
/// On all replicas: at once on the one that answers, within ten seconds on the others, also on those that start meanwhile. Each goes back to its
/// own filter when the time is up. What was set before counts no more. For admins who see all repositories.
#[utoipa::path(
    put, path = "/api/v1/log", tag = "log", operation_id = "setLog",
    request_body = SetLog,
    responses(
        (status = 200, description = "It is set.", body = Envelope<Log>),
        (status = 400, description = "Malformed JSON, or a field is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no admin, or not for all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Admin>,
    JsonBody(body): JsonBody<SetLog>,
) -> Result<Envelope<Log>, ApiError> {
    let (filter, time) = body.check()?;
    for_all(&caller)?;
    let details = json!({"filter": filter.as_str(), "forSeconds": time.as_secs()});
    let action = Action::SetLogFilter;
    let entry = Entry { by: &caller, action, target: None, repository: None, refused: None, details };
    let set = state.db.set_log_filter(&filter, time, &entry).await?;
    // Here at once; other replicas look every ten seconds.
    state.log.asked.notify_one();
    Ok(Envelope::new("로그 필터가 설정되었습니다.", Log::new(Some(set), state.log.own)))
}
