//! Schedules.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::permission::Ended;

/// See the module: cheap to clone.
#[derive(Clone, Debug)]
pub struct ScheduleMetrics {
    overdue_seconds: Gauge<f64, AtomicU64>,
    runs: Family<[(&'static str, &'static str); 1], Counter>,
    stopped: Family<[(&'static str, &'static str); 1], Counter>,
}

impl ScheduleMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self { overdue_seconds: Gauge::default(), runs: Family::default(), stopped: Family::default() };
        for code in Ended::CODES {
            drop(new.stopped.get_or_create(&[("code", code)]));
        }
        for result in ["started", "refused", "failed", "skipped"] {
            drop(new.runs.get_or_create(&[("result", result)]));
        }
        registry.register(
            "schedules_overdue_seconds",
            "For how long the schedule that has been due for longest has been so; 0 when none is",
            new.overdue_seconds.clone(),
        );
        registry.register(
            "schedule_runs",
            "Times of schedules that this replica dealt with, by what became of them",
            new.runs.clone(),
        );
        registry.register(
            "schedules_stopped",
            "Schedules that this replica stopped because their permission had ended, by code",
            new.stopped.clone(),
        );
        new
    }

    /// Records for how long a schedule has been due.
    pub fn set_overdue(&self, since: Duration) {
        self.overdue_seconds.set(since.as_secs_f64());
    }

    /// Counts a schedule that stopped because its permission had ended.
    pub fn stopped(&self, code: &'static str) {
        self.stopped.get_or_create(&[("code", code)]).inc();
    }

    /// Counts what became of a time of a schedule: `started`, `refused`, `failed` or `skipped`.
    pub fn ran(&self, result: &'static str) {
        self.runs.get_or_create(&[("result", result)]).inc();
    }
}
