//! Connections to the database, by class of work.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::connection_class::{Class, Usage};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfUse {
    class: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClass {
    class: &'static str,
}

/// See the module: cheap to clone.
#[derive(Clone, Debug)]
pub struct DatabaseMetrics {
    connections: Family<OfUse, Gauge>,
    waiting: Family<OfClass, Gauge>,
    rejected: Family<OfClass, Counter>,
    waited: Family<OfClass, Counter<f64, AtomicU64>>,
    trouble: Gauge,
}

impl DatabaseMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self {
            connections: Family::default(),
            waiting: Family::default(),
            rejected: Family::default(),
            waited: Family::default(),
            trouble: Gauge::default(),
        };
        registry.register(
            "database_connections",
            "Connections to Postgres by class of work and state: used, idle",
            new.connections.clone(),
        );
        registry.register("database_waiting", "Callers that wait for a connection of their class", new.waiting.clone());
        registry.register(
            "database_rejected",
            "Callers that waited in vain for a connection of their class",
            new.rejected.clone(),
        );
        registry.register_with_unit(
            "database_wait",
            "Time that callers have waited for a connection of their class",
            Unit::Seconds,
            new.waited.clone(),
        );
        registry.register(
            "database_trouble",
            "1 while this replica cannot write to the database, as its last heartbeat found; 0 otherwise",
            new.trouble.clone(),
        );
        for class in Class::ALL {
            let class = class.as_str();
            for state in ["used", "idle"] {
                drop(new.connections.get_or_create(&OfUse { class, state }));
            }
            drop(new.waiting.get_or_create(&OfClass { class }));
            drop(new.rejected.get_or_create(&OfClass { class }));
            drop(new.waited.get_or_create(&OfClass { class }));
        }
        new
    }

    /// Records what each class uses and waits for.
    pub fn set(&self, usage: &[Usage]) {
        for usage in usage {
            let class = usage.class.as_str();
            for (state, count) in [("used", usage.used), ("idle", usage.idle)] {
                self.connections.get_or_create(&OfUse { class, state }).set(gauge(count));
            }
            let of = OfClass { class };
            self.waiting.get_or_create(&of).set(gauge(usage.waiting));
            // The counts are kept with the connections: what is new since the last scrape is added.
            let rejected = self.rejected.get_or_create(&of);
            rejected.inc_by(usage.rejected.saturating_sub(rejected.get()));
            let waited = self.waited.get_or_create(&of);
            waited.inc_by((usage.waited.as_secs_f64() - waited.get()).max(0.0));
        }
    }

    /// Records whether the last heartbeat met trouble.
    pub fn set_trouble(&self, trouble: bool) {
        self.trouble.set(i64::from(trouble));
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
