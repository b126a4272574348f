//! Build permits: how many heavy steps this replica runs at once.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::metrics::ReconcileMetrics;
use crate::steps::Lane;

/// A build permit, held from the first heavy step to the last.
pub(super) struct Permit {
    builds: Arc<Semaphore>,
    /// Told when the permit is given back: another build may be claimable.
    freed: Arc<Notify>,
    held: Option<OwnedSemaphorePermit>,
    metrics: ReconcileMetrics,
}

impl Permit {
    pub(super) fn new(builds: Arc<Semaphore>, freed: Arc<Notify>, metrics: ReconcileMetrics) -> Self {
        Self { builds, freed, held: None, metrics }
    }

    /// Holds what `lane` needs and no more. False when a build permit is needed and none is free.
    pub(super) fn fit(&mut self, lane: Lane) -> bool {
        match lane {
            Lane::Light => self.give_back(),
            Lane::Heavy if self.held.is_none() => {
                self.held = Arc::clone(&self.builds).try_acquire_owned().ok();
                if self.held.is_some() {
                    self.metrics.building(true);
                }
            }
            Lane::Heavy => {}
        }
        lane == Lane::Light || self.held.is_some()
    }

    fn give_back(&mut self) {
        if self.held.take().is_some() {
            self.metrics.building(false);
            self.freed.notify_one();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back();
    }
}
