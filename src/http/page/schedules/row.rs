//! A schedule and its runs as templates show them.

use chrono::{DateTime, Utc};

use crate::domain::source::{Source, SourceFields};
use crate::domain::text::visible;
use crate::http::routes::schedules::{Schedule, ScheduleRun, ScheduledDeploy};

/// A schedule with its times and its last run.
pub struct ScheduleRow {
    /// Id of the schedule.
    pub id: String,
    /// Its name, else the repository.
    pub title: String,
    pub repository: String,
    /// Branch, tag, commit or digest.
    pub source: String,
    pub cron: String,
    /// Time zone of the expression.
    pub time_zone: String,
    /// Behaviour at a taken target.
    pub concurrency: String,
    /// Behaviour for missed times.
    pub missed: String,
    /// `active`, `paused` or `stopped`.
    pub state: &'static str,
    /// Explanation and remedy of a stopped schedule.
    pub stopped: Option<String>,
    /// Principal whose permission it uses.
    pub made_by: String,
    /// Next time and those after it.
    pub next_runs: Vec<DateTime<Utc>>,
    /// Outcome of the last time.
    pub last_run: Option<RunRow>,
}

/// The outcome of a due time.
pub struct RunRow {
    /// Time at which it was due or requested.
    pub due_at: DateTime<Utc>,
    /// `started`, `refused`, `failed` or `skipped`.
    pub result: String,
    /// Number of times that it covers.
    pub times: i32,
    pub deployment_id: Option<String>,
    /// Error code where nothing was started.
    pub error_code: Option<String>,
    /// Explanation of the code.
    pub error: Option<String>,
    /// Caller who requested it.
    pub asked_by: Option<String>,
}

impl From<ScheduleRun> for RunRow {
    fn from(run: ScheduleRun) -> Self {
        Self {
            due_at: run.due_at,
            result: run.result,
            times: run.times,
            deployment_id: run.deployment_id,
            error_code: run.error_code,
            error: run.error_message.as_deref().map(visible),
            asked_by: run.asked_by.as_deref().map(visible),
        }
    }
}

impl From<Schedule> for ScheduleRow {
    fn from(schedule: Schedule) -> Self {
        let repository = format!("{}/{}", schedule.deploy.owner, schedule.deploy.repo);
        Self {
            id: schedule.schedule_id,
            title: schedule.name.as_deref().map_or_else(|| repository.clone(), visible),
            source: source_text(&schedule.deploy),
            repository,
            cron: schedule.cron,
            time_zone: schedule.time_zone,
            concurrency: schedule.concurrency,
            missed: schedule.missed,
            state: match (&schedule.stopped, schedule.paused) {
                (Some(_), _) => "stopped",
                (None, true) => "paused",
                (None, false) => "active",
            },
            stopped: schedule.stopped.map(|stopped| visible(&stopped.reason)),
            made_by: visible(&schedule.made_by),
            next_runs: schedule.next_runs,
            last_run: schedule.last_run.map(RunRow::from),
        }
    }
}

/// The source for people: a commit or image by the beginning of its id.
fn source_text(deploy: &ScheduledDeploy) -> String {
    let fields = SourceFields {
        branch: deploy.branch.clone(),
        commit: deploy.commit.clone(),
        tag: deploy.tag.clone(),
        image: deploy.image.clone(),
    };
    let shown = |source: Source| {
        let length = match source.kind() {
            "commit" => 7,
            "image" => "sha256:".len() + 12,
            _ => usize::MAX,
        };
        source.name().chars().take(length).collect::<String>()
    };
    fields.source().map_or_else(|_| String::new(), |source| visible(&shown(source)))
}

/// Values of the form's own fields. Empty ones are not set.
#[derive(Clone, Debug, Default)]
pub struct ScheduleForm {
    /// Id of the schedule to change; empty for a new one.
    pub id: String,
    pub name: String,
    pub cron: String,
    /// Time zone of the expression.
    pub time_zone: String,
    pub missed: String,
}

impl ScheduleForm {
    /// True for the chosen behaviour at missed times.
    pub fn is_missed(&self, missed: impl AsRef<str>) -> bool {
        self.missed == missed.as_ref()
    }
}

impl From<&Schedule> for ScheduleForm {
    fn from(schedule: &Schedule) -> Self {
        Self {
            id: schedule.schedule_id.clone(),
            name: schedule.name.clone().unwrap_or_default(),
            cron: schedule.cron.clone(),
            time_zone: schedule.time_zone.clone(),
            missed: schedule.missed.clone(),
        }
    }
}
