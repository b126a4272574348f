//! Claims deployments as long as there is room, and keeps a task for each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::Connections;
use super::driver::Driver;
use super::lease::{Lease, Leases};
use super::limits::{DRAIN, RECHECK_SWEEPS, SWEEP};
use super::notifier::Notifier;
use super::permit::Permit;
use super::schedules::Schedules;
use crate::db::notify::WORK_CHANNEL;
use crate::db::{Class, Db, DbError};
use crate::domain::Deployment;
use crate::domain::connection::{AwsConnection, GithubConnection};
use crate::domain::interruptions::Interruption;
use crate::domain::news::News;
use crate::domain::permission::SignIn;
use crate::metrics::{Listener, Metrics};
use crate::steps::{Services, Step};

/// What keeps it from claiming, and from listening.
static CLAIMING: News = News::new();
static LISTENING: News = News::new();

/// Ids that have a task here, with what tells the task that the deployment is to be cancelled.
type Driven = Arc<Mutex<HashMap<String, CancellationToken>>>;

/// How much one replica does at once, and how it is known.
#[derive(Clone, Debug)]
pub struct ReconcilerOptions {
    /// Host name and process id, for people.
    pub name: String,
    /// Time without a heartbeat after which others take over.
    pub lease: Duration,
    /// Deployments at once.
    pub max_deployments: usize,
    /// Builds at once.
    pub max_builds: usize,
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
    /// Something may be claimable.
    work: Arc<Notify>,
    /// Somebody set a log filter, or took it back.
    log: Arc<Notify>,
    /// Who is let in.
    sign_in: SignIn,
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
        // Before anybody can look: the first of everything is counted from zero.
        metrics.reconcile.know(Step::NAMES);
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
            log: Arc::default(),
            sign_in: SignIn::default(),
        }
    }

    /// With the API's sign-in settings: what acts in a principal's name ends with the principal's permission. Without them, as where no caller
    /// signs in, only what the database says ends one.
    #[must_use]
    pub fn with_sign_in(self, sign_in: SignIn) -> Self {
        Self { sign_in, ..self }
    }

    /// What to tell when somebody set a log filter, or took it back: it is looked for at once.
    pub fn log_asked(&self) -> Arc<Notify> {
        Arc::clone(&self.log)
    }

    /// Runs until `stop`; then lets short steps end, stops long ones, and gives everything back.
    pub async fn run(self, stop: CancellationToken) {
        let background = TaskTracker::new();
        let keep_lease = CancellationToken::new();
        let (leases, work, keep) = (self.leases.clone(), Arc::clone(&self.work), keep_lease.clone());
        background.spawn(async move { leases.keep(keep, || work.notify_one()).await });
        background.spawn(self.clone().listen(stop.clone()));
        let notify = CancellationToken::new();
        background.spawn(self.notifier.clone().run(self.db.clone(), self.metrics.reconcile.clone(), notify.clone()));
        background.spawn(super::housekeeping::run(self.db.of(Class::Background), stop.clone()));
        let settings = self.services.settings.clone();
        let schedules = Schedules {
            db: self.db.of(Class::Background),
            services: Arc::clone(&self.services),
            notifier: self.notifier.clone(),
            metrics: self.metrics.clone(),
            sign_in: self.sign_in.clone(),
        };
        background.spawn(schedules.run(stop.clone()));
        let asked = Arc::clone(&self.log);
        background.spawn(super::upkeep::run(
            self.db.of(Class::Background),
            settings,
            self.metrics.clone(),
            asked,
            stop.clone(),
        ));
        self.claim_until(&stop).await;
        self.tasks.close();
        // Every task ends by itself within the drain; the time limit is for a task that hangs in the database.
        if tokio::time::timeout(DRAIN + Duration::from_secs(1), self.tasks.wait()).await.is_err() {
            tracing::warn!("some deployments did not stop in time; their next owner goes on with them");
        }
        keep_lease.cancel();
        self.leases.leave().await;
        notify.cancel();
        background.close();
        let _ = tokio::time::timeout(Duration::from_secs(1), background.wait()).await;
    }

    async fn claim_until(&self, stop: &CancellationToken) {
        let steps =
            Steps { known: Step::NAMES.iter().map(|&name| name.to_owned()).collect(), heavy: Step::heavy_names() };
        // We may own rows that nobody drives: after an error, whose claim may have happened all the same; after a panic.
        let mut unsure = false;
        let mut sweeps = 0_u32;
        loop {
            let asked = tokio::select! {
                () = self.work.notified() => true,
                () = tokio::time::sleep(SWEEP) => {
                    sweeps = sweeps.wrapping_add(1);
                    unsure |= sweeps.is_multiple_of(RECHECK_SWEEPS);
                    false
                }
                () = stop.cancelled() => return,
            };
            let Some(lease) = self.leases.present() else { continue };
            // A replica with nothing to do asks a smaller question.
            if !asked && !unsure && self.driven().is_empty() && matches!(self.db.is_claimable().await, Ok(false)) {
                continue;
            }
            match self.claim(&lease, &steps, unsure, stop).await {
                Ok(()) => unsure = false,
                Err(error) => {
                    if CLAIMING.are(&error) {
                        tracing::warn!(%error, "could not claim deployments");
                    }
                    unsure = true;
                }
            }
        }
    }

    async fn claim(&self, lease: &Lease, steps: &Steps, unsure: bool, stop: &CancellationToken) -> Result<(), DbError> {
        let mut ids = if unsure { self.db.owned_ids(lease.replica).await? } else { Vec::new() };
        let room = self.options.max_deployments.saturating_sub(self.driven().len());
        if room > 0 {
            let (room, builds) = (to_i64(room), to_i64(self.builds.available_permits()));
            let claimed = self.db.claim(lease.replica, room, &steps.known, builds, &steps.heavy).await?;
            self.metrics.reconcile.claimed(claimed.len());
            for one in claimed {
                if let Some(interruption) = one.interrupted.filter(|kind| *kind == Interruption::ProcessDeath) {
                    self.metrics.reconcile.interrupted(interruption);
                }
                ids.push(one.id);
            }
        }
        self.metrics.reconcile.set_driven(self.driven().len());
        self.see_wishes(lease).await?;
        ids.retain(|id| !self.driven().contains_key(id));
        if ids.is_empty() {
            return Ok(());
        }
        crate::failpoints::reached("claim/after");
        let rows = self.db.load_owned(lease.replica, &ids).await?;
        // One read for all: thousands may be taken over at once. Without it, each driver reads its own.
        let connections = Connections::of(&self.db, &rows).await.unwrap_or_default();
        for deployment in rows {
            let connections = connections.get(&deployment);
            self.drive(deployment, connections, lease, stop);
        }
        Ok(())
    }

    /// Tells the tasks whose deployments a person wishes to cancel. A replica that drives nothing asks nothing.
    async fn see_wishes(&self, lease: &Lease) -> Result<(), DbError> {
        if self.driven().is_empty() {
            return Ok(());
        }
        for id in self.db.cancel_wishes(lease.replica).await? {
            if let Some(unwanted) = self.driven().get(&id) {
                unwanted.cancel();
            }
        }
        Ok(())
    }

    /// Starts the task of a deployment that we own.
    fn drive(
        &self,
        deployment: Deployment,
        connections: Option<(GithubConnection, AwsConnection)>,
        lease: &Lease,
        stop: &CancellationToken,
    ) {
        let Some((place, unwanted)) = Place::begin(&self.driven, &deployment.id) else { return };
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
            unwanted,
            connections,
        };
        self.tasks.spawn(async move {
            driver.drive(deployment).await;
            drop(place);
        });
    }

    /// Wakes the claim loop for each notification of work, until `stop`.
    async fn listen(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let listening = async {
                let mut listener = self.db.listen(WORK_CHANNEL).await?;
                loop {
                    let told = listener.try_recv().await;
                    if !matches!(told, Ok(Some(_))) {
                        self.metrics.streams.reconnects(Listener::Work);
                    }
                    // None: the connection was lost and is there again; something may have been said meanwhile.
                    told?;
                    self.work.notify_one();
                }
            };
            let ended: Result<(), DbError> = tokio::select! {
                ended = listening => ended,
                () = stop.cancelled() => return,
            };
            if let Err(error) = ended
                && LISTENING.are(&error)
            {
                tracing::warn!(%error, "the work listener ended; the sweep goes on");
            }
            tokio::select! {
                () = tokio::time::sleep(SWEEP) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn driven(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One deployment's place among those that have a task here; given up even when the task panics.
struct Place {
    all: Driven,
    id: String,
}

impl Place {
    /// With the token that says when it is not wanted any more. None when it has a task already.
    fn begin(all: &Driven, id: &str) -> Option<(Self, CancellationToken)> {
        match all.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => {
                let unwanted = free.insert(CancellationToken::new()).clone();
                Some((Self { all: Arc::clone(all), id: id.to_owned() }, unwanted))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// Names of the steps that this version knows.
struct Steps {
    known: Vec<String>,
    heavy: Vec<String>,
}

fn to_i64(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
