//! What `GET /metrics` shows. One place, so that every counter is there at zero from the start; no label names a deployment.
//! docs/operations.md says what each means, and a test holds it against what is registered here.

mod aws;
mod builds;
mod database;
mod maintenance;
mod reconcile;
mod schedules;
mod streams;

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

pub use aws::{AwsCalls, CallOutcome};
pub use builds::BuildMetrics;
pub use database::DatabaseMetrics;
pub use maintenance::MaintenanceMetrics;
pub use reconcile::ReconcileMetrics;
pub use schedules::ScheduleMetrics;
pub use streams::{Listener, StreamMetrics};

/// Media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of this process: cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Calls to AWS.
    pub aws: AwsCalls,
    /// Builds.
    pub builds: BuildMetrics,
    /// The reconciler.
    pub reconcile: ReconcileMetrics,
    /// Event streams.
    pub streams: StreamMetrics,
    /// Maintenance.
    pub maintenance: MaintenanceMetrics,
    /// Schedules.
    pub schedules: ScheduleMetrics,
    /// Connections to the database.
    pub database: DatabaseMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("panda");
        Self {
            aws: AwsCalls::register(&mut registry),
            builds: BuildMetrics::register(&mut registry),
            reconcile: ReconcileMetrics::register(&mut registry),
            streams: StreamMetrics::register(&mut registry),
            maintenance: MaintenanceMetrics::register(&mut registry),
            schedules: ScheduleMetrics::register(&mut registry),
            database: DatabaseMetrics::register(&mut registry),
            registry: Arc::new(registry),
        }
    }
}

impl Metrics {
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
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    const OPERATIONS: &str = include_str!("../docs/operations.md");

    #[test]
    fn every_metric_is_there_from_the_start() {
        let metrics = Metrics::default();
        metrics.reconcile.know(&["build_image"]);
        let text = metrics.text();
        for line in [
            "panda_oldest_overdue_seconds 0.0",
            "panda_deployments_driven 0",
            "panda_events_held_back_seconds 0.0",
            "panda_deployments{state=\"ready\"} 0",
            "panda_deployment_changes_total{status=\"FAILED\"} 0",
            "panda_deployment_failures_total{error_code=\"BUILD_FAILED\"} 0",
            "panda_step_seconds_count{step=\"build_image\"} 0",
            "panda_step_retries_total{step=\"build_image\"} 0",
            "panda_aws_requests_total{call=\"ecr:CreateRepository\",outcome=\"throttled\"} 0",
            "panda_listener_reconnects_total{listener=\"work\"} 0",
            "panda_aws_call_seconds_count{call=\"ecr:CreateRepository\"} 0",
            "panda_database_connections{class=\"reconcile\",state=\"idle\"} 0",
            "panda_database_waiting{class=\"reconcile\"} 0",
            "panda_database_rejected_total{class=\"reports\"} 0",
            "panda_database_wait_seconds_total{class=\"reconcile\"} 0.0",
            "panda_database_trouble 0",
            "panda_build_steps_total{cached=\"true\"} 0",
            "panda_schedules_overdue_seconds 0.0",
            "panda_schedule_runs_total{result=\"failed\"} 0",
            "panda_maintenance_removed_total{kind=\"build_lines\"} 0",
            "panda_maintenance_runs_total{kind=\"runs\",end=\"failed\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        metrics.reconcile.set_oldest_overdue(Duration::from_millis(1_500));
        assert!(metrics.text().contains("panda_oldest_overdue_seconds 1.5"));
    }

    #[test]
    fn the_page_for_operators_has_every_metric_and_no_other() {
        let metrics = Metrics::default();
        // Which steps there are is told at the start.
        metrics.reconcile.know(&["build_image"]);
        let text = metrics.text();
        let there: BTreeSet<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split_once(' '))
            .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
            .collect();
        let described: BTreeSet<String> = OPERATIONS
            .lines()
            .filter_map(|line| line.strip_prefix("| `panda_"))
            .map(|line| format!("panda_{}", line.split(['`', '{']).next().unwrap()))
            .collect();
        assert_eq!(there, described);
    }
}
