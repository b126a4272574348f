//! Metrics of due schedules and their runs.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::permission::PermissionEnd;

/// Metrics of the schedules that this replica runs. Clones share the values.
#[derive(Clone, Debug)]
pub struct ScheduleMetrics {
    overdue_seconds: Gauge<f64, AtomicU64>,
    runs: Family<[(&'static str, &'static str); 1], Counter>,
    stopped: Family<[(&'static str, &'static str); 1], Counter>,
}

impl ScheduleMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self { overdue_seconds: Gauge::default(), runs: Family::default(), stopped: Family::default() };
        for code in PermissionEnd::CODES {
            drop(new.stopped.get_or_create(&[("code", code)]));
        }
        for result in ["started", "refused", "failed", "skipped"] {
            drop(new.runs.get_or_create(&[("result", result)]));
        }
        registry.register(
            "schedules_overdue_seconds",
            "Time since the most overdue schedule was due; 0 if none is overdue",
            new.overdue_seconds.clone(),
        );
        registry.register(
            "schedule_runs",
            "Due times of schedules handled by this replica, by result",
            new.runs.clone(),
        );
        registry.register(
            "schedules_stopped",
            "Schedules that this replica stopped because their permission ended, by code",
            new.stopped.clone(),
        );
        new
    }

    /// Sets the time since the most overdue schedule was due.
    pub fn set_overdue(&self, overdue: Duration) {
        self.overdue_seconds.set(overdue.as_secs_f64());
    }

    /// Counts a schedule that was stopped because its permission ended.
    pub fn stopped(&self, code: &'static str) {
        self.stopped.get_or_create(&[("code", code)]).inc();
    }

    /// Counts a handled due time of a schedule. `result` is `started`, `refused`, `failed` or `skipped`.
    pub fn ran(&self, result: &'static str) {
        self.runs.get_or_create(&[("result", result)]).inc();
    }
}
