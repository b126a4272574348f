//! Claims deployments up to the replica's capacity, and runs a task for each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::Connections;
use super::driver::Driver;
use super::lease::{Lease, Leases};
use super::limits::{DRAIN, IDLE_SWEEP_INTERVAL, RECHECK_SWEEPS, SWEEP_INTERVAL};
use super::notifier::Notifier;
use super::options::ReconcilerOptions;
use super::permit::Permit;
use crate::db::notify::WORK_CHANNEL;
use crate::db::ownership::OpenWork;
use crate::db::{Class, Db, DbError};
use crate::domain::Deployment;
use crate::domain::connection::{AwsConnection, GithubConnection};
use crate::domain::interruptions::Interruption;
use crate::domain::log_throttle::LogThrottle;
use crate::metrics::{ListenPurpose, Metrics};
use crate::steps::{Services, Step};

static CLAIM_ERRORS: LogThrottle = LogThrottle::new();
static LISTEN_ERRORS: LogThrottle = LogThrottle::new();

/// The deployments that have a task here, by id.
type Driven = Arc<Mutex<HashMap<String, TaskSignals>>>;

/// What the worker passes on to the task of a deployment.
#[derive(Clone, Default)]
struct TaskSignals {
    cancel_requested: CancellationToken,
    /// There may be news for a poll that waits.
    woken: Arc<Notify>,
}

/// The reconcile loop of one replica.
#[derive(Clone)]
pub struct Reconciler {
    db: Db,
    services: Arc<Services>,
    notifier: Notifier,
    metrics: Metrics,
    options: Arc<ReconcilerOptions>,
    leases: Leases,
    builds: Arc<Semaphore>,
    driven: Driven,
    tasks: TaskTracker,
    /// Notified when a deployment may be claimable.
    work: Arc<Notify>,
}

impl Reconciler {
    /// A reconciler that does nothing until [`Reconciler::run`].
    pub fn new(
        db: Db,
        services: Arc<Services>,
        notifier: Notifier,
        metrics: Metrics,
        options: ReconcilerOptions,
    ) -> Self {
        // Before the first scrape: a counter that starts at one hides its first increment from rate().
        metrics.reconcile.register_steps(Step::NAMES);
        Self {
            leases: Leases::new(db.of(Class::Lease), options.name.clone(), options.lease),
            builds: Arc::new(Semaphore::new(options.max_builds)),
            options: Arc::new(options),
            db,
            services,
            notifier,
            metrics,
            driven: Arc::default(),
            tasks: TaskTracker::new(),
            work: Arc::new(Notify::new()),
        }
    }

    /// Runs until `stop`; then lets short steps end, stops long ones, and releases all deployments.
    pub async fn run(self, stop: CancellationToken) {
        let helpers = TaskTracker::new();
        let keep_lease = CancellationToken::new();
        let (leases, work, keep) = (self.leases.clone(), Arc::clone(&self.work), keep_lease.clone());
        helpers.spawn(async move { leases.keep(keep, || work.notify_one()).await });
        helpers.spawn(self.clone().listen(stop.clone()));
        let notify = CancellationToken::new();
        helpers.spawn(self.notifier.clone().run(self.db.clone(), self.metrics.reconcile.clone(), notify.clone()));
        self.claim_until(&stop).await;
        self.tasks.close();
        let drain = self.options.build_drain.max(DRAIN);
        if !self.options.build_drain.is_zero() && !self.tasks.is_empty() {
            tracing::info!(drain_ms = self.options.build_drain.as_millis(), "waiting for running builds");
        }
        // Every task ends within `drain`; the time limit here covers a task that hangs in the database.
        if tokio::time::timeout(drain + Duration::from_secs(1), self.tasks.wait()).await.is_err() {
            tracing::warn!("some deployments did not stop in time; their next owner resumes them");
        }
        keep_lease.cancel();
        self.leases.leave().await;
        notify.cancel();
        helpers.close();
        let _ = tokio::time::timeout(Duration::from_secs(1), helpers.wait()).await;
    }

    async fn claim_until(&self, stop: &CancellationToken) {
        let steps =
            Steps { known: Step::NAMES.iter().map(|&name| name.to_owned()).collect(), heavy: Step::heavy_names() };
        // This replica may own rows without a task: after an error whose claim was committed nevertheless, or after a panic.
        let mut unsure = false;
        let mut sweeps = 0_u32;
        let mut interval = SWEEP_INTERVAL;
        loop {
            let notified = tokio::select! {
                () = self.work.notified() => true,
                () = tokio::time::sleep(interval) => {
                    sweeps = sweeps.wrapping_add(1);
                    unsure |= sweeps.is_multiple_of(RECHECK_SWEEPS);
                    false
                }
                () = stop.cancelled() => return,
            };
            interval = SWEEP_INTERVAL;
            let Some(lease) = self.leases.present() else { continue };
            // An idle replica first runs a cheaper query, which also finds rows that it owns without a task.
            if !notified
                && self.driven().is_empty()
                && let Ok(OpenWork { active, claimable: false }) = self.db.open_work(lease.replica).await
            {
                unsure = false;
                interval = if active { SWEEP_INTERVAL } else { IDLE_SWEEP_INTERVAL };
                continue;
            }
            match self.claim(&lease, &steps, unsure, stop).await {
                Ok(()) => unsure = false,
                Err(error) => {
                    if CLAIM_ERRORS.allows(&error) {
                        tracing::warn!(%error, "deployments not claimed");
                    }
                    unsure = true;
                }
            }
        }
    }

    async fn claim(&self, lease: &Lease, steps: &Steps, unsure: bool, stop: &CancellationToken) -> Result<(), DbError> {
        let mut ids = if unsure { self.db.owned_ids(lease.replica).await? } else { Vec::new() };
        let capacity = self.options.max_deployments.saturating_sub(self.driven().len());
        if capacity > 0 {
            let (capacity, builds) = (to_i64(capacity), to_i64(self.builds.available_permits()));
            let claimed = self.db.claim(lease.replica, capacity, &steps.known, builds, &steps.heavy).await?;
            self.metrics.reconcile.claimed(claimed.len());
            for row in claimed {
                if let Some(interruption) = row.interrupted.filter(|kind| *kind == Interruption::ProcessDeath) {
                    self.metrics.reconcile.interrupted(interruption);
                }
                ids.push(row.id);
            }
        }
        self.metrics.reconcile.set_driven(self.driven().len());
        self.pass_on_cancellations(lease).await?;
        ids.retain(|id| !self.driven().contains_key(id));
        if ids.is_empty() {
            return Ok(());
        }
        crate::failpoints::reached("claim/after");
        let rows = self.db.load_owned(lease.replica, &ids).await?;
        // One query for all: a takeover may claim thousands of rows. If it fails, each driver reads its own connections.
        let connections = Connections::of(&self.db, &rows).await.unwrap_or_default();
        for deployment in rows {
            let connections = connections.get(&deployment);
            self.drive(deployment, connections, lease, stop);
        }
        Ok(())
    }

    /// Passes requests to cancel on to the tasks of their deployments. Runs no query on a replica that drives nothing.
    async fn pass_on_cancellations(&self, lease: &Lease) -> Result<(), DbError> {
        if self.driven().is_empty() {
            return Ok(());
        }
        for id in self.db.cancel_requested_ids(lease.replica).await? {
            if let Some(signals) = self.driven().get(&id) {
                signals.cancel_requested.cancel();
            }
        }
        Ok(())
    }

    /// Starts the task of a deployment that this replica owns.
    fn drive(
        &self,
        deployment: Deployment,
        connections: Option<(GithubConnection, AwsConnection)>,
        lease: &Lease,
        stop: &CancellationToken,
    ) {
        let Some((guard, signals)) = TaskGuard::register(&self.driven, &deployment.id) else { return };
        let driver = Driver {
            db: self.db.clone(),
            services: Arc::clone(&self.services),
            notifier: self.notifier.clone(),
            metrics: self.metrics.reconcile.clone(),
            replica: lease.replica,
            options: Arc::clone(&self.options),
            builds: Permit::new(Arc::clone(&self.builds), Arc::clone(&self.work), self.metrics.reconcile.clone()),
            lost: lease.lost.clone(),
            stop: stop.clone(),
            cancel_requested: signals.cancel_requested,
            woken: signals.woken,
            connections,
        };
        let (driver, deployment) = (Box::new(driver), Arc::new(deployment));
        self.tasks.spawn(async move {
            driver.drive(deployment).await;
            drop(guard);
        });
    }

    /// Wakes the claim loop for each notification of work, until `stop`.
    async fn listen(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let listening = async {
                let mut listener = self.db.listen(WORK_CHANNEL).await?;
                loop {
                    let received = listener.try_recv().await;
                    if !matches!(received, Ok(Some(_))) {
                        self.metrics.streams.reconnected(ListenPurpose::Work);
                    }
                    // `None` means that the listener has reconnected: notifications may have been lost meanwhile.
                    // Also of a deployment that is driven here: a status event of AWS asks for an early poll.
                    if let Some(notification) = received?
                        && let Some(signals) = self.driven().get(notification.payload())
                    {
                        signals.woken.notify_one();
                    }
                    self.work.notify_one();
                }
            };
            let ended: Result<(), DbError> = tokio::select! {
                ended = listening => ended,
                () = stop.cancelled() => return,
            };
            if let Err(error) = ended
                && LISTEN_ERRORS.allows(&error)
            {
                tracing::warn!(%error, "work listener ended, relying on the sweep until it reconnects");
            }
            tokio::select! {
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn driven(&self) -> parking_lot::MutexGuard<'_, HashMap<String, TaskSignals>> {
        self.driven.lock()
    }
}

/// Registers one deployment as driven here for as long as the guard lives; dropped even when the task panics.
struct TaskGuard {
    driven: Driven,
    id: String,
}

impl TaskGuard {
    /// Returns the guard and the signals for the task; `None` when the deployment has a task already.
    fn register(driven: &Driven, id: &str) -> Option<(Self, TaskSignals)> {
        match driven.lock().entry(id.to_owned()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => {
                let signals = free.insert(TaskSignals::default()).clone();
                Some((Self { driven: Arc::clone(driven), id: id.to_owned() }, signals))
            }
        }
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.driven.lock().remove(&self.id);
    }
}

/// Names of the steps that this version can run.
struct Steps {
    known: Vec<String>,
    heavy: Vec<String>,
}

fn to_i64(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
