//! All periodic work of a replica: tasks that time starts, not a claimed deployment.
//!
//! Every replica runs every task, and no task elects a leader: the database decides, in one statement or transaction, which replica does a piece of work.
//!
//! # Why a crash at any line is harmless
//! 1. **Before the statement**: nothing happened. The work stays due; the next run of any replica finds it.
//! 2. **In the statement**: each task changes the database in statements or transactions that are complete alone: a queued deployment is started,
//!    a due schedule is handled, a batch is removed, or nothing happened. Removing and counting are safe to repeat.
//! 3. **After the statement, before its notification, metric or log line**: replicas and streams poll the tables; metrics and log lines begin
//!    again with the next process.
//! 4. **Between two tasks or two runs**: no task relies on an earlier one. State in memory (the time of the last log line, the applied log filter,
//!    the last check of permissions) is rebuilt by the first run of the next process.
//! 5. **Paused for any time**: no task owns anything for longer than its transaction, except a retention run, whose row is its lease (`retention`), and
//!    the receivers of events, each of which is leased (`outbox`).
//!
//! An error ends one run, never the task: `every` logs it (`warn`, once a minute while it lasts) and runs the task again.
//!
//! # The tasks
//!
//! | task | period | other triggers | on error |
//! | --- | --- | --- | --- |
//! | `ten_seconds`: in one statement, counts unfinished deployments, reads the log filter, finds the longest stuck deployment, advances sequences that are behind their tables, and finds work for the tasks marked * | 10 s | the filter alone: set at this replica, or expired | `warn`; a filter that expires is removed without the database |
//! | `ten_seconds`: probes that the database stores new rows | 10 s | | readiness reports it |
//! | `ten_seconds` *: starts queued deployments of free targets (`reconcile::dequeue`) | 10 s | a deployment ended (the driver calls it) | `warn`; the targets wait |
//! | `ten_seconds` *: requests the switches that policies make (`commands/auto_switch`) | 10 s | | `warn`; the switches stay due |
//! | `schedules` *: starts due schedules; checks this replica's settings every 10 s, and permissions every 30 s. Without active schedules, it only checks the settings | 5 s; sooner before a due time, 200 ms at least; 20 s without active schedules | the first active schedule | `warn`; due schedules stay due |
//! | `garbage_collection`: removes dead replicas, expired idempotency keys, sessions and tickets, unused budgets of calls | 5 min, at second 30 | | `warn` |
//! | `status_queue`: receives status events of AWS and notifies the owners of their deployments; only with PANDA_STATUS_QUEUE_URL | as messages arrive; a call waits up to 10 s | | `warn`; the messages stay on the queue. AWS: `warn`, again after 10 s |
//! | `watch`: compares ready deployments, and switched ones whose blue is not terminated, with CodeDeploy, and requests looks at those that differ. One replica a period, by a lease that expires | 1 min (`PANDA_WATCH_INTERVAL_MS`) | | `warn`; all are compared in the next period |
//! | `connection_cleanup`: removes rules and statements of removed connections in AWS, one replica at a time | 1 min | | `warn`; the next run finds what is left |
//! | `outbox` *: delivers events to receivers; a receiver has one replica at a time, by a lease. Nothing without receivers | as answers arrive; beats each 400 ms, reads each 50 ms to 1 s | a receiver was changed at this replica, or the first one created | `warn`; its commit is repeated |
//! | `retention`: starts the rules whose cron expression is due | 1 min, at second 0 | | `warn`; the rule runs at its next time |
//! | `retention` *: starts requested runs, and ends runs whose replica died | 10 s while there are any | requested at this replica, or a run ended | `warn`; the request stays |
//!
//! # Periodic work elsewhere
//! It belongs to one layer, and stays there:
//!
//! | task | period |
//! | --- | --- |
//! | `reconcile/lease`: heartbeat | a quarter of the lease |
//! | `db/locks`: renews a lock while it is held | a quarter of its length |
//! | `reconcile/worker`: claims deployments; every tenth time, looks for owned rows without a task | 1 s; 2 s while no deployment of the installation is active |
//! | `http/sse/hub`: polls watched deployments and the feed | 1 s |
//! | `http/auth/credential_cache`: checks cached credentials again | 2 s |
//! | `http/middleware/audit_refusals`: writes counts of refusals | 1 min |
//! | `http/server/tls`: reloads a changed certificate | 5 s |
//! | `clients/oidc`: fetches the keys of issuers, which rotate | per issuer |
//! | `db/connect/endpoint`: reads a changed password file | 1 s |
//! | `app`: connects to builders that have not responded yet | 10 s |

mod connection_cleanup;
mod every;
mod garbage_collection;
mod log_filter;
mod outbox;
mod retention;
mod schedules;
mod status_queue;
mod stuck_deployments;
mod ten_seconds;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch as changes};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::db::{Class, Db};
use crate::domain::permission::SignIn;
use crate::metrics::Metrics;
use crate::reconcile::Notifier;
use crate::steps::Services;
use connection_cleanup::ConnectionCleanup;
pub use connection_cleanup::remove_leftovers;
use every::{Period, every};
use garbage_collection::GarbageCollection;
use outbox::Outbox;
pub use retention::{Retention, RetentionContext};
use schedules::Schedules;
use status_queue::StatusQueueReader;
use ten_seconds::{Signals, TenSeconds};
use watch::Watch;

const TEN_SECONDS: Period = Period::Interval(Duration::from_secs(10));

const ONE_MINUTE: Period = Period::Interval(Duration::from_mins(1));

/// Every five minutes, at second 30.
const FIVE_MINUTES: Period = Period::Cron("30 */5 * * * *");

/// At the start of every minute.
const MINUTE: Period = Period::Cron("0 * * * * *");

/// Time that running tasks have to end at a shutdown.
const DRAIN: Duration = Duration::from_secs(1);

/// The periodic tasks of one replica.
pub struct Background {
    db: Db,
    services: Arc<Services>,
    notifier: Notifier,
    metrics: Metrics,
    sign_in: SignIn,
    four_eyes: bool,
    /// Notified when a log filter was set or removed through this replica.
    log_filter_changed: Arc<Notify>,
    /// Notified when a receiver was changed through this replica.
    receivers_changed: Arc<Notify>,
    retention: Option<Retention>,
}

impl Background {
    /// Tasks that do nothing until [`Background::run`]. They use the connections of `db` for background work.
    pub fn new(db: &Db, services: Arc<Services>, notifier: Notifier, metrics: Metrics) -> Self {
        Self {
            db: db.of(Class::Background),
            services,
            notifier,
            metrics,
            sign_in: SignIn::default(),
            four_eyes: false,
            log_filter_changed: Arc::default(),
            receivers_changed: Arc::default(),
            retention: None,
        }
    }

    /// Adds the API's sign-in settings, so that a schedule ends with the permission of its owner. Without them (no caller signs in), only the
    /// database's state ends a permission. `four_eyes` requires another approver than who started an attempt, so that no policy switches.
    #[must_use]
    pub fn with_sign_in(self, sign_in: SignIn, four_eyes: bool) -> Self {
        Self { sign_in, four_eyes, ..self }
    }

    /// Adds the retention of data. Without it, nothing is removed but garbage.
    #[must_use]
    pub fn with_retention(self, retention: Retention) -> Self {
        Self { retention: Some(retention), ..self }
    }

    /// The handle to notify after a log filter was set or removed: the replica then reads it immediately.
    pub fn log_filter_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.log_filter_changed)
    }

    /// The handle to notify after a receiver was created or changed: the replica then reads it immediately.
    pub fn receivers_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.receivers_changed)
    }

    /// Runs all tasks until `stop`, and waits a moment for those that are running.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let (schedules, active) = changes::channel(true);
        let (receivers, has_receivers) = changes::channel(false);
        let (retention, maintenance) = self.retention.map(Retention::notified).unzip();
        let signals = Signals { log_filter_changed: self.log_filter_changed, maintenance, schedules, receivers };
        let (settings, metrics) = (&self.services.settings, self.metrics.clone());
        let ten_seconds = TenSeconds::new(self.db.clone(), settings, metrics, signals, self.four_eyes);
        tasks.spawn(every(TEN_SECONDS, stop.clone(), ten_seconds));
        tasks.spawn(every(FIVE_MINUTES, stop.clone(), GarbageCollection { db: self.db.clone() }));
        let watch = Watch::new(self.db.clone(), Arc::clone(&self.services), self.metrics.watch.clone());
        tasks.spawn(every(Period::Interval(settings.watch_interval), stop.clone(), watch));
        if let Some(queue) = self.services.status_queue.clone() {
            let reader = StatusQueueReader { db: self.db.clone(), queue, stop: stop.clone() };
            tasks.spawn(every(status_queue::PERIOD, stop.clone(), reader));
        }
        let client = self.services.receivers.clone();
        let outbox =
            Outbox::new(self.db.clone(), client, self.metrics.outbox.clone(), has_receivers, self.receivers_changed);
        tasks.spawn(outbox.run(stop.clone()));
        let cleanup = ConnectionCleanup { db: self.db.clone(), services: Arc::clone(&self.services) };
        tasks.spawn(every(ONE_MINUTE, stop.clone(), cleanup));
        let schedules =
            Schedules::new(self.db, self.services, self.notifier, self.metrics, self.sign_in, active, stop.clone());
        tasks.spawn(every(schedules::PERIOD, stop.clone(), schedules));
        match retention {
            // Boxed: this future is large, and the tasks' futures are within it.
            Some(retention) => Box::pin(retention.run(stop)).await,
            None => stop.cancelled().await,
        }
        tasks.close();
        let _ = tokio::time::timeout(DRAIN, tasks.wait()).await;
    }
}
