//! `PATCH /api/v1/schedules/{id}`: changes, pauses, resumes or adopts a schedule.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Schedule, ScheduleRequest, ScheduledDeploy};
use crate::commands::schedules::change::{ScheduleEdit, change, pause};
use crate::commands::schedules::error::ScheduleError;
use crate::db::schedules::ScheduleView;
use crate::domain::message::message;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;
use crate::http::language::{AskedLang, Labelled};
use crate::http::routes::schedules::path::ScheduleId;
use crate::http::{ApiState, strict_object};

// ---- Request

/// Fields to change; an absent field or null leaves the value unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScheduleChange {
    /// Display name of the schedule.
    #[schema(example = "nightly", min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// Cron expression: minute, hour, day of month, month, day of week; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schema(example = "30 6 * * MON-FRI", max_length = 100)]
    pub cron: Option<String>,
    /// Time zone of the cron expression (IANA name).
    #[schema(example = "Asia/Seoul")]
    pub time_zone: Option<String>,
    /// Deployment to start each time; replaces all of its fields.
    #[serde(default, deserialize_with = "strict_object::optional")]
    pub deploy: Option<ScheduledDeploy>,
    /// Behaviour when another deployment of the target is unfinished: `reject`, `queue` or `supersede`.
    #[schema(value_type = Option<String>, example = "queue", pattern = "^(reject|queue|supersede)$")]
    pub concurrency: Option<String>,
    /// Behaviour for times missed while no server ran: `run_once` or `skip`.
    #[schema(value_type = Option<String>, example = "run_once", pattern = "^(run_once|skip)$")]
    pub missed: Option<String>,
    /// True to pause the schedule, false to resume it.
    #[schema(example = true)]
    pub paused: Option<bool>,
    /// True to adopt the schedule without a change: it then deploys with the caller's role and for the caller's repositories, and resumes if it
    /// had stopped. Every other change except pausing also adopts it.
    #[schema(example = true)]
    pub adopt: Option<bool>,
}

impl ScheduleChange {
    fn is_empty(&self) -> bool {
        self.paused.is_none() && !self.adopts() && self.leaves_all_but_paused()
    }

    fn only_pauses(&self) -> bool {
        self.paused == Some(true) && !self.adopts() && self.leaves_all_but_paused()
    }

    fn adopts(&self) -> bool {
        self.adopt == Some(true)
    }

    fn leaves_all_but_paused(&self) -> bool {
        self.deploy.is_none()
            && [&self.name, &self.cron, &self.time_zone, &self.concurrency, &self.missed]
                .iter()
                .all(|field| field.is_none())
    }

    fn apply_to(self, row: ScheduleView) -> ScheduleRequest {
        let deploy = ScheduledDeploy::from_row(&row);
        ScheduleRequest {
            name: self.name.or(row.name),
            cron: self.cron.unwrap_or(row.cron),
            time_zone: self.time_zone.unwrap_or(row.time_zone),
            deploy: self.deploy.unwrap_or(deploy),
            concurrency: self.concurrency.or(Some(row.concurrency)),
            missed: self.missed.or(Some(row.missed)),
            paused: self.paused.unwrap_or(row.paused),
        }
    }
}

// ---- Handler

/// Change, pause, resume or adopt a schedule
///
/// Makes the caller the owner: the schedule then deploys with the caller's role and for the caller's repositories, as long as the caller has them.
/// Only pausing leaves the owner unchanged. Times that pass while the schedule is paused do not count as missed.
#[utoipa::path(
    patch, path = "/api/v1/schedules/{id}", tag = "schedules", operation_id = "changeSchedule",
    params(("id" = String, Path, description = "Id of the schedule.", example = "sch_4k1zq0v7w3m9x2c8b5n6")),
    request_body = ScheduleChange,
    responses(
        (status = 200, description = "The changed schedule.", body = Envelope<Schedule>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not deploy.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such schedule.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The schedule was changed concurrently.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    ScheduleId(id): ScheduleId,
    lang: AskedLang,
    JsonBody(body): JsonBody<ScheduleChange>,
) -> Result<Labelled<Envelope<Schedule>>, ApiError> {
    if body.is_empty() {
        return Err(ApiError::field("body", message!("rule.schedule_change")));
    }
    let changed = if body.only_pauses() {
        // Pausing skips validation, so that a schedule that has become invalid can still be stopped.
        pause(&state.db, &id, &caller).await?
    } else {
        let row = state.db.schedule(caller.scope(), &id).await?.ok_or_else(|| ScheduleError::NotFound(id.clone()))?;
        let wanted = body.apply_to(row.clone()).check(&state, &caller).await?;
        change(&state.db, &id, &wanted, ScheduleEdit::new(&row, &wanted), &caller).await?
    };
    tracing::info!(schedule = %changed.id, cron = changed.cron, paused = changed.paused, "schedule changed");
    let lang = lang.texts();
    Ok(Labelled { lang, body: Envelope::new("배포 일정이 변경되었습니다.", Schedule::new(changed, lang)) })
}
