//! `PATCH /api/v1/schedules/{id}`: another time, another target, another owner; pause and resume.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Asked, Schedule, ScheduledDeploy};
use crate::db::schedules::{Change, ScheduleView};
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::{JsonBody, ScheduleId};
use crate::http::problem::Problem;
use crate::http::{ApiState, object};

// ---- What it takes

/// What is to be otherwise; what is absent or null stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScheduleChange {
    /// What people call it.
    #[schema(example = "nightly", min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// When: minute, hour, day of month, month, day of week; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schema(example = "30 6 * * MON-FRI", max_length = 100)]
    pub cron: Option<String>,
    /// By whose clock: a name of the IANA database.
    #[schema(example = "Asia/Seoul")]
    pub time_zone: Option<String>,
    /// What to deploy each time: all of it.
    #[serde(default, deserialize_with = "object::optional")]
    pub deploy: Option<ScheduledDeploy>,
    /// `reject`, `queue` or `supersede`.
    #[schema(value_type = Option<String>, example = "queue", pattern = "^(reject|queue|supersede)$")]
    pub concurrency: Option<String>,
    /// `run_once` or `skip`.
    #[schema(value_type = Option<String>, example = "run_once", pattern = "^(run_once|skip)$")]
    pub missed: Option<String>,
    /// Whether it waits until somebody resumes it.
    #[schema(example = true)]
    pub paused: Option<bool>,
    /// True to take it over as it is: it deploys with the caller's role and for the caller's repositories from then on, and resumes when it
    /// had stopped. Every change but pausing does so, too.
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

    fn of(self, row: ScheduleView) -> Asked {
        let deploy = ScheduledDeploy::of(&row);
        Asked {
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

// ---- The handler

/// Change, pause, resume or take over a schedule
///
/// From then on it deploys with the caller's role and for the caller's repositories, as long as the caller has them; pausing alone does not change that. Times that pass while it is
/// paused are not missed.
#[utoipa::path(
    patch, path = "/api/v1/schedules/{id}", tag = "schedules", operation_id = "changeSchedule",
    params(("id" = String, Path, description = "The schedule.", example = "sch_4k1zq0v7w3m9x2c8b5n6")),
    request_body = ScheduleChange,
    responses(
        (status = 200, description = "Changed.", body = Envelope<Schedule>),
        (status = 400, description = "Malformed JSON, or a field is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not deploy.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such schedule.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Somebody else changed it at the same time.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Deployer>,
    ScheduleId(id): ScheduleId,
    JsonBody(body): JsonBody<ScheduleChange>,
) -> Result<Envelope<Schedule>, ApiError> {
    if body.is_empty() {
        return Err(ApiError::field(
            "body",
            "must have what is to be changed: name, cron, timeZone, deploy, concurrency, missed, paused or adopt",
        ));
    }
    let changed = if body.only_pauses() {
        // Even of one that could not be made any more: it must be possible to stop it.
        state.db.pause_schedule(&id, &caller).await?.ok_or(ApiError::ScheduleNotFound(id))?
    } else {
        let row =
            state.db.schedule(caller.scope(), &id).await?.ok_or_else(|| ApiError::ScheduleNotFound(id.clone()))?;
        let (version, before) = (row.version, (row.cron.clone(), row.time_zone.clone(), row.paused, row.next_run_at));
        let wanted = body.of(row).check(&state, &caller).await?;
        let (cron, zone, paused, next) = before;
        let retime = next.is_none()
            || (cron.as_str(), zone.as_str(), paused) != (wanted.cron.as_str(), wanted.zone.name(), wanted.paused);
        let changed = state.db.change_schedule(&id, &wanted, Change { version, retime }, &caller).await?;
        changed.ok_or(ApiError::ScheduleChanged(id))?
    };
    tracing::info!(schedule = %changed.id, cron = changed.cron, paused = changed.paused, "a schedule was changed");
    Ok(Envelope::new("배포 일정이 변경되었습니다.", Schedule::from(changed)))
}
