//! Metrics of maintenance.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::domain::maintenance::{Kind, State};

type Labels = Vec<(&'static str, &'static str)>;

/// What maintenance counts: cheap to clone.
#[derive(Clone, Debug)]
pub struct MaintenanceMetrics {
    runs: Family<Labels, Counter>,
    removed: Family<Labels, Counter>,
}

impl MaintenanceMetrics {
    /// Registers them, at zero.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { runs: Family::default(), removed: Family::default() };
        for kind in Kind::ALL {
            let _ = metrics.removed.get_or_create(&vec![("kind", kind.as_str())]);
            for end in State::ENDS {
                let _ = metrics.runs.get_or_create(&ended(kind, end));
            }
        }
        registry.register(
            "maintenance_runs",
            "Runs of maintenance that ended in this replica, by what they remove and how they ended",
            metrics.runs.clone(),
        );
        registry.register(
            "maintenance_removed",
            "What maintenance removed in this replica: events, deployments (to the archive), folders, images, records",
            metrics.removed.clone(),
        );
        metrics
    }

    /// A run ended.
    pub fn ended(&self, kind: Kind, end: State) {
        self.runs.get_or_create(&ended(kind, end)).inc();
    }

    /// So many were removed.
    pub fn removed(&self, kind: Kind, count: i64) {
        self.removed.get_or_create(&vec![("kind", kind.as_str())]).inc_by(u64::try_from(count).unwrap_or(0));
    }
}

fn ended(kind: Kind, end: State) -> Labels {
    vec![("kind", kind.as_str()), ("end", end.as_str())]
}
