//! Metrics of maintenance runs.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::domain::maintenance::{RetentionKind, RetentionRunState};

type Labels = Vec<(&'static str, &'static str)>;

/// Metrics of maintenance runs in this process. Clones share the values.
#[derive(Clone, Debug)]
pub struct MaintenanceMetrics {
    runs: Family<Labels, Counter>,
    removed: Family<Labels, Counter>,
}

impl MaintenanceMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { runs: Family::default(), removed: Family::default() };
        for kind in RetentionKind::ALL {
            let _ = metrics.removed.get_or_create(&vec![("kind", kind.as_str())]);
            for end in RetentionRunState::ENDS {
                let _ = metrics.runs.get_or_create(&ended(kind, end));
            }
        }
        registry.register(
            "maintenance_runs",
            "Maintenance runs finished by this replica, by kind and end",
            metrics.runs.clone(),
        );
        registry.register(
            "maintenance_removed",
            "Objects removed by maintenance in this replica, by kind; deployments are moved to the archive",
            metrics.removed.clone(),
        );
        metrics
    }

    pub(crate) fn ended(&self, kind: RetentionKind, end: RetentionRunState) {
        self.runs.get_or_create(&ended(kind, end)).inc();
    }

    pub(crate) fn removed(&self, kind: RetentionKind, count: i64) {
        self.removed.get_or_create(&vec![("kind", kind.as_str())]).inc_by(u64::try_from(count).unwrap_or(0));
    }
}

fn ended(kind: RetentionKind, end: RetentionRunState) -> Labels {
    vec![("kind", kind.as_str()), ("end", end.as_str())]
}
