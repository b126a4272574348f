//! Settings of the reconciler.

use std::time::Duration;

/// Capacity and name of one replica.
#[derive(Clone, Debug)]
pub struct ReconcilerOptions {
    /// Host name and process id, for display.
    pub name: String,
    /// Time without a heartbeat after which others take over.
    pub lease: Duration,
    /// Most deployments driven concurrently.
    pub max_deployments: usize,
    /// Most builds run concurrently.
    pub max_builds: usize,
    /// Time for running builds to finish at a shutdown.
    pub build_drain: Duration,
}
