//! Metrics of receivers of events and their outbox.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::receiver::ReceiverKind;

/// Metrics of the deliveries that this replica makes. Clones share the values.
#[derive(Clone, Debug)]
pub struct OutboxMetrics {
    deliveries: Family<[(&'static str, &'static str); 2], Counter>,
    lag_seconds: Gauge<f64, AtomicU64>,
    open: Gauge,
}

impl OutboxMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self { deliveries: Family::default(), lag_seconds: Gauge::default(), open: Gauge::default() };
        for kind in ReceiverKind::ALL {
            for result in ["delivered", "failed", "dead"] {
                drop(new.deliveries.get_or_create(&[("kind", kind.as_str()), ("result", result)]));
            }
        }
        registry.register(
            "receiver_deliveries",
            "Attempts of this replica to deliver an event to a receiver, by its kind and by result",
            new.deliveries.clone(),
        );
        registry.register(
            "receiver_lag_seconds",
            "Age of the oldest event that a receiver of this replica has not answered and that has not failed; 0 without one",
            new.lag_seconds.clone(),
        );
        registry.register(
            "receiver_deliveries_open",
            "Failed deliveries of this replica's receivers that are tried again, and those that wait behind them",
            new.open.clone(),
        );
        new
    }

    /// Counts an answered attempt. `result` is `delivered`, `failed` or `dead`.
    pub(crate) fn settled(&self, kind: &'static str, result: &'static str) {
        self.deliveries.get_or_create(&[("kind", kind), ("result", result)]).inc();
    }

    /// Sets the state of the receivers that this replica holds.
    pub(crate) fn set_state(&self, lag: Duration, open: i64) {
        self.lag_seconds.set(lag.as_secs_f64());
        self.open.set(open);
    }

    /// Reports that there are no receivers.
    pub(crate) fn idle(&self) {
        self.set_state(Duration::ZERO, 0);
    }
}
