//! Build permits: limit the heavy steps that this replica runs concurrently.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::metrics::ReconcileMetrics;
use crate::steps::ResourceClass;

/// A build permit, held from the first heavy step to the last.
pub(super) struct Permit {
    builds: Arc<Semaphore>,
    /// Notified when the permit is released: another build may be claimable.
    freed: Arc<Notify>,
    held: Option<OwnedSemaphorePermit>,
    metrics: ReconcileMetrics,
}

impl Permit {
    pub(super) fn new(builds: Arc<Semaphore>, freed: Arc<Notify>, metrics: ReconcileMetrics) -> Self {
        Self { builds, freed, held: None, metrics }
    }

    /// Acquires or releases the build permit, as `class` requires. Returns false when a build permit is required and none is free.
    pub(super) fn acquire(&mut self, class: ResourceClass) -> bool {
        match class {
            ResourceClass::Light => self.release(),
            ResourceClass::Heavy if self.held.is_none() => {
                self.held = Arc::clone(&self.builds).try_acquire_owned().ok();
                if self.held.is_some() {
                    self.metrics.count_build_permit(true);
                }
            }
            ResourceClass::Heavy => {}
        }
        class == ResourceClass::Light || self.held.is_some()
    }

    pub(super) fn release(&mut self) {
        if self.held.take().is_some() {
            self.metrics.count_build_permit(false);
            self.freed.notify_one();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release();
    }
}
