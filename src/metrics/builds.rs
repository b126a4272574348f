//! Metrics of builders and builds.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::failure::BuildFault;

/// Metrics of builders and builds. Clones share the values.
#[derive(Clone, Debug)]
pub struct BuildMetrics {
    builder: Family<BuilderLabels, Gauge>,
    /// Current labels of each builder, by its name. A change of version replaces the builder's series.
    shown: Arc<Mutex<HashMap<String, BuilderLabels>>>,
    steps: Family<StepLabels, Counter>,
    faults: Family<FaultLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuilderLabels {
    builder: String,
    kind: &'static str,
    version: String,
    enforces: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    cached: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    fault: &'static str,
}

fn unknown() -> BuilderLabels {
    BuilderLabels { builder: "default".to_owned(), kind: "unknown", version: String::new(), enforces: "" }
}

/// Metrics of a separate registry that is never served, for a command that builds once.
impl Default for BuildMetrics {
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}

impl BuildMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self {
            builder: Family::default(),
            shown: Arc::default(),
            steps: Family::default(),
            faults: Family::default(),
        };
        registry.register(
            "builder_info",
            "1 for each builder in use, with its name, kind, version and enforced limits",
            new.builder.clone(),
        );
        registry.register("build_steps", "Steps of BuildKit builds, by use of the cache", new.steps.clone());
        registry.register("build_faults", "Failed builds, by responsible party", new.faults.clone());
        // Placeholder series, replaced when a builder first responds.
        new.builder.get_or_create(&unknown()).set(0);
        for cached in ["true", "false"] {
            drop(new.steps.get_or_create(&StepLabels { cached }));
        }
        for fault in BuildFault::ALL {
            drop(new.faults.get_or_create(&FaultLabels { fault: fault.as_str() }));
        }
        new
    }

    /// Sets the labels of the builder `name`, and removes its previous series.
    pub fn set_builder(&self, name: &str, kind: &'static str, version: String, enforces: &'static str) {
        let now = BuilderLabels { builder: name.to_owned(), kind, version, enforces };
        let mut shown = self.shown.lock();
        let previous = shown.insert(name.to_owned(), now.clone());
        if let Some(previous) = previous.filter(|previous| *previous != now) {
            self.builder.remove(&previous);
        }
        self.builder.remove(&unknown());
        self.builder.get_or_create(&now).set(1);
    }

    pub(crate) fn fault(&self, fault: BuildFault) {
        self.faults.get_or_create(&FaultLabels { fault: fault.as_str() }).inc();
    }

    pub(crate) fn step(&self, cached: bool) {
        self.steps.get_or_create(&StepLabels { cached: if cached { "true" } else { "false" } }).inc();
    }
}
