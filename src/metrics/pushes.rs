//! Metrics of push hooks. The durations of their requests are those of their route.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Metrics of the events that this replica received. Clones share the values.
#[derive(Clone, Debug)]
pub struct PushMetrics {
    deliveries: Family<[(&'static str, &'static str); 1], Counter>,
}

impl PushMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self { deliveries: Family::default() };
        for decision in ["started", "ignored", "rejected", "repeated", "unverified"] {
            drop(new.deliveries.get_or_create(&[("decision", decision)]));
        }
        registry.register(
            "push_deliveries",
            "Events that push hooks received at this replica, by decision",
            new.deliveries.clone(),
        );
        new
    }

    /// Counts an event. `decision` is `started`, `ignored`, `rejected`, `repeated` or `unverified`.
    pub(crate) fn received(&self, decision: &'static str) {
        self.deliveries.get_or_create(&[("decision", decision)]).inc();
    }
}
