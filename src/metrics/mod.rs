//! The metrics of `GET /metrics`. All are registered here, so that every series exists from the start with the value zero. No label names a deployment.
//! `docs/operations.md` describes each metric; a test compares it with the registry.

mod aws;
mod builds;
mod database;
mod http;
mod maintenance;
mod mcp;
mod outbox;
mod pushes;
mod recent_max;
mod reconcile;
mod schedules;
mod streams;
mod watch;

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

pub use aws::{AccountClass, AwsCalls, CallOutcome, WaitingCall};
pub use builds::BuildMetrics;
pub use database::DatabaseMetrics;
pub use http::HttpMetrics;
pub use maintenance::MaintenanceMetrics;
pub use mcp::McpMetrics;
pub use outbox::OutboxMetrics;
pub use pushes::PushMetrics;
pub use reconcile::ReconcileMetrics;
pub use schedules::ScheduleMetrics;
pub use streams::{ListenPurpose, StreamMetrics};
pub use watch::WatchMetrics;

/// Media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of this process. Clones share the values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    pub(crate) aws: AwsCalls,
    pub(crate) builds: BuildMetrics,
    /// Public for tests that register steps without a reconciler.
    pub reconcile: ReconcileMetrics,
    pub(crate) streams: StreamMetrics,
    pub(crate) maintenance: MaintenanceMetrics,
    pub(crate) schedules: ScheduleMetrics,
    pub(crate) database: DatabaseMetrics,
    pub(crate) watch: WatchMetrics,
    pub(crate) http: HttpMetrics,
    pub(crate) mcp: McpMetrics,
    pub(crate) outbox: OutboxMetrics,
    /// Events that push hooks receive.
    pub(crate) pushes: PushMetrics,
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
            watch: WatchMetrics::register(&mut registry),
            http: HttpMetrics::register(&mut registry),
            mcp: McpMetrics::register(&mut registry),
            outbox: OutboxMetrics::register(&mut registry),
            pushes: PushMetrics::register(&mut registry),
            registry: Arc::new(registry),
        }
    }
}

impl Metrics {
    /// Renders all metrics in the `OpenMetrics` text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    const OPERATIONS: &str = include_str!("../../docs/operations.md");

    #[test]
    fn every_series_exists_from_the_start() {
        let metrics = Metrics::default();
        metrics.reconcile.register_steps(&["build_image"]);
        metrics.mcp.register_tool("search_log");
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
            "panda_aws_budget_waiting{call=\"states:GetExecutionHistory\",account=\"controller\"} 0",
            "panda_aws_budget_wait_seconds_total{call=\"ecr:PutImage\",account=\"user\"} 0.0",
            "panda_aws_budget_exceeded_total{call=\"ecr:PutImage\",account=\"user\"} 0",
            "panda_listener_reconnects_total{listener=\"work\"} 0",
            "panda_aws_call_seconds_count{call=\"ecr:CreateRepository\"} 0",
            "panda_database_connections{class=\"reconcile\",state=\"idle\"} 0",
            "panda_database_waiting{class=\"reconcile\"} 0",
            "panda_database_rejected_total{class=\"reports\"} 0",
            "panda_database_wait_seconds_total{class=\"reconcile\"} 0.0",
            "panda_database_caller_waiting{class=\"replay\"} 0",
            "panda_database_caller_rejected_total{class=\"api\"} 0",
            "panda_database_trouble 0",
            "panda_build_steps_total{cached=\"true\"} 0",
            "panda_schedules_overdue_seconds 0.0",
            "panda_schedule_runs_total{result=\"failed\"} 0",
            "panda_maintenance_removed_total{kind=\"build_lines\"} 0",
            "panda_maintenance_runs_total{kind=\"runs\",end=\"failed\"} 0",
            "panda_receiver_deliveries_total{kind=\"webhook\",result=\"dead\"} 0",
            "panda_receiver_lag_seconds 0.0",
            "panda_http_requests_total{status=\"5xx\"} 0",
            "panda_http_request_seconds_count{route=\"none\"} 0",
            concat!("panda_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        metrics.reconcile.set_oldest_overdue(Duration::from_millis(1_500));
        assert!(metrics.text().contains("panda_oldest_overdue_seconds 1.5"));
    }

    #[test]
    fn operations_page_describes_every_metric() {
        let metrics = Metrics::default();
        // The reconciler registers the steps when it starts, the API the tools.
        metrics.reconcile.register_steps(&["build_image"]);
        metrics.mcp.register_tool("search_log");
        let text = metrics.text();
        let registered: BTreeSet<String> = text
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
        assert_eq!(registered, described);
    }
}
