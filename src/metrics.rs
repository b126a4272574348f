//! What `GET /metrics` shows. One place, so that every counter is there at zero from the start; no label names a deployment.

mod aws;
mod maintenance;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use aws::{AwsCalls, CallOutcome};
pub use maintenance::MaintenanceMetrics;

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
    maintenance: MaintenanceMetrics,
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
        let (aws, maintenance) = (AwsCalls::default(), MaintenanceMetrics::register(&mut registry));
        aws.register(&mut registry);
        let registry = Arc::new(registry);
        Self { registry, oldest_overdue_seconds, deployments_driven, events_held_back_seconds, aws, maintenance }
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

    /// Those of maintenance.
    pub fn maintenance(&self) -> &MaintenanceMetrics {
        &self.maintenance
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
        assert!(metrics.text().contains("panda_events_held_back_seconds 0.0"));
        let text = metrics.text();
        assert!(text.contains("panda_maintenance_removed_total{kind=\"build_lines\"} 0"), "{text}");
        assert!(text.contains("panda_maintenance_runs_total{kind=\"runs\",end=\"failed\"} 0"), "{text}");
    }
}
