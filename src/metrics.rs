//! What `GET /metrics` shows. One place, so that every counter is there at zero from the start; no label names a deployment.

mod aws;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use aws::{AwsCalls, CallOutcome};

/// Media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of this process: cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    oldest_overdue_seconds: Gauge<f64, AtomicU64>,
    deployments_driven: Gauge,
    events_held_back_seconds: Gauge<f64, AtomicU64>,
    aws: AwsCalls,
    schedules_overdue_seconds: Gauge<f64, AtomicU64>,
    schedule_runs: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("panda");
        let (oldest_overdue_seconds, deployments_driven) = (Gauge::default(), Gauge::default());
        registry.register(
            "oldest_overdue_seconds",
            "For how long the deployment that has been left alone for longest has been so; 0 when there is none",
            oldest_overdue_seconds.clone(),
        );
        registry.register(
            "deployments_driven",
            "Deployments that this replica is advancing",
            deployments_driven.clone(),
        );
        let events_held_back_seconds = Gauge::default();
        registry.register(
            "events_held_back_seconds",
            "For how long the stream of all deployments has been waiting for a writing transaction to end; 0 when it does not",
            events_held_back_seconds.clone(),
        );
        let aws = AwsCalls::default();
        aws.register(&mut registry);
        let schedules_overdue_seconds = Gauge::default();
        registry.register(
            "schedules_overdue_seconds",
            "For how long the schedule that has been due for longest has been so; 0 when none is",
            schedules_overdue_seconds.clone(),
        );
        let schedule_runs = Family::<[(&'static str, &'static str); 1], Counter>::default();
        for result in ["started", "refused", "failed", "skipped"] {
            drop(schedule_runs.get_or_create(&[("result", result)]));
        }
        registry.register(
            "schedule_runs",
            "Times of schedules that this replica dealt with, by what became of them",
            schedule_runs.clone(),
        );
        Self {
            aws,
            registry: Arc::new(registry),
            schedules_overdue_seconds,
            schedule_runs,
            oldest_overdue_seconds,
            deployments_driven,
            events_held_back_seconds,
        }
    }
}

impl Metrics {
    /// Records for how long a deployment has been left alone.
    pub fn set_oldest_overdue(&self, since: Duration) {
        self.oldest_overdue_seconds.set(since.as_secs_f64());
    }

    /// For how long, in seconds; 0 when there is none.
    pub fn oldest_overdue_seconds(&self) -> f64 {
        self.oldest_overdue_seconds.get()
    }

    /// Records how many deployments this replica advances.
    pub fn set_deployments_driven(&self, count: usize) {
        self.deployments_driven.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Records for how long a committed event has been waiting for older transactions.
    pub fn set_events_held_back(&self, wait: Duration) {
        self.events_held_back_seconds.set(wait.as_secs_f64());
    }

    /// Where calls to AWS are counted.
    pub fn aws(&self) -> AwsCalls {
        self.aws.clone()
    }

    /// Records for how long a schedule has been due.
    pub fn set_schedules_overdue(&self, since: Duration) {
        self.schedules_overdue_seconds.set(since.as_secs_f64());
    }

    /// Counts what became of a time of a schedule: `started`, `refused`, `failed` or `skipped`.
    pub fn count_schedule_run(&self, result: &'static str) {
        self.schedule_runs.get_or_create(&[("result", result)]).inc();
    }

    /// All of them in the `OpenMetrics` text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_there_from_the_start() {
        let metrics = Metrics::default();
        assert!(metrics.text().contains("panda_oldest_overdue_seconds 0.0"), "{}", metrics.text());
        metrics.set_oldest_overdue(Duration::from_millis(1_500));
        assert!(metrics.text().contains("panda_oldest_overdue_seconds 1.5"));
        assert!(metrics.text().contains("panda_deployments_driven 0"));
        assert!(metrics.text().contains("panda_schedules_overdue_seconds 0.0"));
        metrics.count_schedule_run("refused");
        for (result, count) in [("started", 0), ("refused", 1), ("failed", 0), ("skipped", 0)] {
            let line = format!("panda_schedule_runs_total{{result=\"{result}\"}} {count}");
            assert!(metrics.text().contains(&line), "{line}: {}", metrics.text());
        }
        assert!(metrics.text().contains("panda_events_held_back_seconds 0.0"));
    }
}
