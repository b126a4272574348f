//! Builds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::failure::BuildFault;

/// The builder, and what it did.
#[derive(Clone, Debug)]
pub struct BuildMetrics {
    builder: Family<OfBuilder, Gauge>,
    /// What is shown of each builder, by its name: another version replaces it.
    shown: Arc<Mutex<HashMap<String, OfBuilder>>>,
    steps: Family<OfStep, Counter>,
    faults: Family<OfFault, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBuilder {
    builder: String,
    kind: &'static str,
    version: String,
    enforces: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStep {
    cached: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFault {
    fault: &'static str,
}

fn unknown() -> OfBuilder {
    OfBuilder { builder: "default".to_owned(), kind: "unknown", version: String::new(), enforces: "" }
}

/// Counts for nobody to see, as in a command that builds once.
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
            "1 for each builder in use: name, kind, version, limits that it enforces",
            new.builder.clone(),
        );
        registry.register(
            "build_steps",
            "Steps of BuildKit builds, by whether the result came from the cache",
            new.steps.clone(),
        );
        registry.register("build_faults", "Builds that failed, by whose fault", new.faults.clone());
        // There from the start, and replaced once a builder answered.
        new.builder.get_or_create(&unknown()).set(0);
        for cached in ["true", "false"] {
            drop(new.steps.get_or_create(&OfStep { cached }));
        }
        for fault in BuildFault::ALL {
            drop(new.faults.get_or_create(&OfFault { fault: fault.as_str() }));
        }
        new
    }

    /// Records what the builder `name` is, in place of what it was.
    pub fn set_builder(&self, name: &str, kind: &'static str, version: String, enforces: &'static str) {
        let now = OfBuilder { builder: name.to_owned(), kind, version, enforces };
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shown.insert(name.to_owned(), now.clone());
        if let Some(before) = before.filter(|before| *before != now) {
            self.builder.remove(&before);
        }
        self.builder.remove(&unknown());
        self.builder.get_or_create(&now).set(1);
    }

    /// Records a build that failed.
    pub fn fault(&self, fault: BuildFault) {
        self.faults.get_or_create(&OfFault { fault: fault.as_str() }).inc();
    }

    /// Records a step that ended.
    pub fn step(&self, cached: bool) {
        self.steps.get_or_create(&OfStep { cached: if cached { "true" } else { "false" } }).inc();
    }
}
