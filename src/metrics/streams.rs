//! Event streams, and what feeds them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Seconds from being told of events to having them ready to be sent.
const LAG_BUCKETS: [f64; 8] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfListener {
    listener: &'static str,
}

/// What a connection listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Events, for streams.
    Events,
    /// Work, for the reconciler.
    Work,
}

impl Listener {
    fn label(self) -> OfListener {
        OfListener { listener: if self == Self::Events { "events" } else { "work" } }
    }
}

/// See the module: cheap to clone.
#[derive(Clone, Debug)]
pub struct StreamMetrics {
    open: Gauge,
    bytes: Counter,
    lag: Histogram,
    held_back_seconds: Gauge<f64, AtomicU64>,
    reconnects: Family<OfListener, Counter>,
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
        for listener in [Listener::Events, Listener::Work] {
            drop(new.reconnects.get_or_create(&listener.label()));
        }
        registry.register("streams", "Event streams that are open", new.open.clone());
        registry.register_with_unit("stream", "What was handed to event streams", Unit::Bytes, new.bytes.clone());
        registry.register_with_unit(
            "hub_lag",
            "From being told that a deployment has new events to having them ready for its streams",
            Unit::Seconds,
            new.lag.clone(),
        );
        registry.register(
            "events_held_back_seconds",
            "For how long the stream of all deployments has been waiting for a writing transaction to end; 0 when it does not",
            new.held_back_seconds.clone(),
        );
        registry.register(
            "listener_reconnects",
            "LISTEN connections that broke off, by what they listen for: events or work. What they would have told is found a second later",
            new.reconnects.clone(),
        );
        new
    }

    /// Records how many are open, and the bytes that all were handed so far.
    pub fn set(&self, open: usize, bytes: u64) {
        self.open.set(i64::try_from(open).unwrap_or(i64::MAX));
        self.bytes.inner().store(bytes, Ordering::Relaxed);
    }

    /// Records a reading.
    pub fn read(&self, took: Duration) {
        self.lag.observe(took.as_secs_f64());
    }

    /// Records for how long a committed event has been waiting for older transactions.
    pub fn set_held_back(&self, wait: Duration) {
        self.held_back_seconds.set(wait.as_secs_f64());
    }

    /// Records a listener's end.
    pub fn reconnects(&self, listener: Listener) {
        self.reconnects.get_or_create(&listener.label()).inc();
    }
}
