//! Metrics of the watch of deployments at AWS.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Metrics of the watch of deployments at AWS. Clones share the values.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    watched: Gauge,
    compared: Counter,
    unanswered: Counter,
    differences: Counter,
}

impl WatchMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self {
            watched: Gauge::default(),
            compared: Counter::default(),
            unanswered: Counter::default(),
            differences: Counter::default(),
        };
        registry.register(
            "watched_deployments",
            "Deployments that AWS can still change: ready ones, and switched ones whose blue is not terminated. The same on every replica",
            new.watched.clone(),
        );
        registry.register(
            "watch_compared",
            "Watched deployments that this replica compared with AWS",
            new.compared.clone(),
        );
        registry.register(
            "watch_unanswered",
            "Watched deployments that this replica could not compare, because AWS throttled, denied or did not answer",
            new.unanswered.clone(),
        );
        registry.register(
            "watch_differences",
            "Looks requested by this replica, because AWS had another state than the deployment",
            new.differences.clone(),
        );
        new
    }

    /// Sets the number of watched deployments in the database.
    pub fn set_watched(&self, count: i64) {
        self.watched.set(count);
    }

    pub(crate) fn compared(&self, count: usize) {
        self.compared.inc_by(count as u64);
    }

    pub(crate) fn unanswered(&self, count: usize) {
        self.unanswered.inc_by(count as u64);
    }

    pub(crate) fn differed(&self, count: u64) {
        self.differences.inc_by(count);
    }
}
