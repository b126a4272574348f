//! Metrics of event streams and of the LISTEN connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Histogram buckets in seconds, from the notification of new events to their frames being ready.
const LAG_BUCKETS: [f64; 8] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

/// Purpose of a LISTEN connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenPurpose {
    /// New events for the streams, on the channel `panda_events`.
    Events,
    /// New work for the reconciler, on the channel `panda_work`.
    Work,
}

impl ListenPurpose {
    fn label(self) -> ListenerLabels {
        ListenerLabels { listener: if self == Self::Events { "events" } else { "work" } }
    }
}

/// Metrics of event streams and LISTEN connections. Clones share the values.
#[derive(Clone, Debug)]
pub struct StreamMetrics {
    open: Gauge,
    bytes: Counter,
    lag: Histogram,
    held_back_seconds: Gauge<f64, AtomicU64>,
    reconnects: Family<ListenerLabels, Counter>,
}

impl StreamMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self {
            open: Gauge::default(),
            bytes: Counter::default(),
            lag: Histogram::new(LAG_BUCKETS),
            held_back_seconds: Gauge::default(),
            reconnects: Family::default(),
        };
        for listener in [ListenPurpose::Events, ListenPurpose::Work] {
            drop(new.reconnects.get_or_create(&listener.label()));
        }
        registry.register("streams", "Open event streams", new.open.clone());
        registry.register_with_unit(
            "stream",
            "Total size of the data sent to event streams",
            Unit::Bytes,
            new.bytes.clone(),
        );
        registry.register_with_unit(
            "hub_lag",
            "Time from the notification that a deployment has new events until they are ready for its streams",
            Unit::Seconds,
            new.lag.clone(),
        );
        registry.register(
            "events_held_back_seconds",
            "Time that the stream of all deployments has been waiting for an older transaction to end; 0 if it is not waiting",
            new.held_back_seconds.clone(),
        );
        registry.register(
            "listener_reconnects",
            "Lost LISTEN connections, by purpose (events, work); the polling every second finds what they missed",
            new.reconnects.clone(),
        );
        new
    }

    /// Sets the number of open streams, and the total of bytes sent.
    pub fn set(&self, open: usize, bytes: u64) {
        self.open.set(i64::try_from(open).unwrap_or(i64::MAX));
        self.bytes.inner().store(bytes, Ordering::Relaxed);
    }

    /// Records the duration of one read of a deployment's events.
    pub fn record_read(&self, took: Duration) {
        self.lag.observe(took.as_secs_f64());
    }

    /// Sets the time that committed events have been waiting for older transactions.
    pub fn set_held_back(&self, wait: Duration) {
        self.held_back_seconds.set(wait.as_secs_f64());
    }

    /// Counts a lost LISTEN connection.
    pub fn reconnected(&self, listener: ListenPurpose) {
        self.reconnects.get_or_create(&listener.label()).inc();
    }
}
