//! A reconciler in this process.

use std::sync::Arc;

use panda::background::Background;
use panda::metrics::Metrics;
use panda::reconcile::Notifier;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::environment::{Environment, InProcess as _};
use super::panda::Panda;

/// A reconciler with separate threads and connections, like a process; it runs until it is stopped.
pub struct Replica {
    stop: CancellationToken,
    runtime: Option<Runtime>,
    task: JoinHandle<()>,
}

impl Replica {
    /// Starts one in `env` with further flags.
    pub fn start(env: &Environment, flags: &[&str]) -> Self {
        Panda::builder().environment(env).flags(flags).replica()
    }

    pub(super) fn of(env: &Environment, flags: &[&str]) -> Self {
        let (config, controller) = (env.config(flags), env.controller());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = runtime.spawn(async move {
            let services =
                Arc::new(panda::app::services(&config, Some(controller), &Metrics::default()).await.unwrap());
            let db = panda::app::database(&config, &services.aws).unwrap();
            let (notifier, metrics) = (Notifier::new(|_| {}), Metrics::default());
            let background = Background::new(&db, Arc::clone(&services), notifier.clone(), metrics.clone());
            let reconciler = panda::app::reconciler(&config, db, services, notifier, metrics);
            tokio::join!(reconciler.run(stopped.clone()), background.run(stopped));
        });
        Self { stop, runtime: Some(runtime), task }
    }

    /// Ends it immediately, as SIGKILL would: without releasing its deployments.
    pub fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Stops it as SIGTERM does.
    pub async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // A runtime may not wait for its threads inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
