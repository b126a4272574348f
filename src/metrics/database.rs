//! Metrics of database connections, by class of work.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::connection_class::{CallerUsage, Class, Usage};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UseLabels {
    class: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: &'static str,
}

/// Metrics of database connections. Clones share the values.
#[derive(Clone, Debug)]
pub struct DatabaseMetrics {
    connections: Family<UseLabels, Gauge>,
    waiting: Family<ClassLabels, Gauge>,
    rejected: Family<ClassLabels, Counter>,
    waited: Family<ClassLabels, Counter<f64, AtomicU64>>,
    caller_waiting: Family<ClassLabels, Gauge>,
    caller_rejected: Family<ClassLabels, Counter>,
    trouble: Gauge,
}

impl DatabaseMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self {
            connections: Family::default(),
            waiting: Family::default(),
            rejected: Family::default(),
            waited: Family::default(),
            caller_waiting: Family::default(),
            caller_rejected: Family::default(),
            trouble: Gauge::default(),
        };
        registry.register(
            "database_connections",
            "Connections to Postgres, by class of work and state (used, idle)",
            new.connections.clone(),
        );
        registry.register(
            "database_waiting",
            "Callers waiting for a connection, by class of work",
            new.waiting.clone(),
        );
        registry.register(
            "database_rejected",
            "Callers that timed out waiting for a connection, by class of work",
            new.rejected.clone(),
        );
        registry.register_with_unit(
            "database_wait",
            "Total time that callers waited for a connection, by class of work",
            Unit::Seconds,
            new.waited.clone(),
        );
        registry.register(
            "database_caller_waiting",
            "Requests, reports and replays waiting for others of the same caller, by class of work",
            new.caller_waiting.clone(),
        );
        registry.register(
            "database_caller_rejected",
            "Requests and reports that timed out waiting for others of the same caller, by class of work",
            new.caller_rejected.clone(),
        );
        registry.register(
            "database_trouble",
            "1 if this replica's last heartbeat could not write to the database, otherwise 0",
            new.trouble.clone(),
        );
        for class in Class::ALL {
            let class = class.as_str();
            for state in ["used", "idle"] {
                drop(new.connections.get_or_create(&UseLabels { class, state }));
            }
            drop(new.waiting.get_or_create(&ClassLabels { class }));
            drop(new.rejected.get_or_create(&ClassLabels { class }));
            drop(new.waited.get_or_create(&ClassLabels { class }));
        }
        for class in [Class::Api, Class::Reports, Class::Replay] {
            let of = ClassLabels { class: class.as_str() };
            drop(new.caller_waiting.get_or_create(&of));
            drop(new.caller_rejected.get_or_create(&of));
        }
        new
    }

    /// Updates the metrics of each class when they are scraped.
    pub fn set(&self, usage: &[Usage]) {
        for usage in usage {
            let class = usage.class.as_str();
            for (state, count) in [("used", usage.used), ("idle", usage.idle)] {
                self.connections.get_or_create(&UseLabels { class, state }).set(gauge(count));
            }
            let of = ClassLabels { class };
            self.waiting.get_or_create(&of).set(gauge(usage.waiting));
            // The pool keeps running totals: add the difference since the last scrape.
            let rejected = self.rejected.get_or_create(&of);
            rejected.inc_by(usage.rejected.saturating_sub(rejected.get()));
            let waited = self.waited.get_or_create(&of);
            waited.inc_by((usage.waited.as_secs_f64() - waited.get()).max(0.0));
        }
    }

    /// Updates the metrics of the callers' shares when they are scraped.
    pub fn set_callers(&self, usage: &[CallerUsage]) {
        for usage in usage {
            let of = ClassLabels { class: usage.class.as_str() };
            self.caller_waiting.get_or_create(&of).set(gauge(usage.waiting));
            let rejected = self.caller_rejected.get_or_create(&of);
            rejected.inc_by(usage.rejected.saturating_sub(rejected.get()));
        }
    }

    /// Sets the result of the last heartbeat.
    pub fn set_trouble(&self, trouble: bool) {
        self.trouble.set(i64::from(trouble));
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
