//! The outbox: delivers events to receivers (docs/integrations.md). A deployment's commit writes nothing for it: the table of events is the queue, and
//! each receiver has a cursor in it.
//!
//! One replica holds a receiver at a time, by a lease of seconds, so that there is one stream of attempts per event, in the order of each deployment.
//!
//! # When the process dies
//! 1. **Before a request**: nothing happened; the next holder sends the event.
//! 2. **After the request, before the commit of its answer**: the next holder sends the event again, with the same `webhook-id`. A receiver has at most
//!    32 such events, the newest sent one of each deployment. A receiver that shows the state of deployments is asked first for what may exist.
//! 3. **In the commit**: cursor, failed deliveries and their release are one transaction.
//! 4. **After the commit**: the next holder continues behind it.
//!
//! A commit that fails is repeated unchanged until the database answers, or another replica holds the receiver. Then this one drops what it has.

mod delivering;
mod event_log;
mod holding;
mod receiver;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::every::warn_throttled;
use crate::clients::receivers::ReceiverClients;
use crate::db::outbox::OutboxCommit;
use crate::db::{Db, DbError};
use crate::domain::log_throttle::LogThrottle;
use crate::failpoints::around;
use crate::metrics::OutboxMetrics;
use delivering::{Delivery, Sent};
use event_log::{EventLog, LogRead, page};
use receiver::{Receiver, Settled};

/// Time for which a sender holds a receiver without a renewal. Short, because the events of a killed replica wait for it.
const LEASE: Duration = Duration::from_secs(2);

/// Part of the lease after which no more requests begin.
const SAFE_LEASE: Duration = Duration::from_millis(1_800);

/// Interval of renewals, and of looks for due deliveries.
const BEAT: Duration = Duration::from_millis(400);

/// Wait after an error of the database.
const ERROR_WAIT: Duration = Duration::from_millis(300);

/// Interval of reads while each read finds events.
const BUSY_READ: Duration = Duration::from_millis(50);

/// Interval of reads while there were events within [`RECENT`].
const RECENT_READ: Duration = Duration::from_millis(200);

/// Interval of other reads.
const IDLE_READ: Duration = Duration::from_secs(1);

const RECENT: Duration = Duration::from_secs(10);

/// Free places from which on a receiver that is behind reads a page.
const PAGE_PLACES: usize = 32;

/// Time for which a shutdown waits for answers.
const DRAIN: Duration = Duration::from_millis(700);

/// The outbox of one replica.
pub(super) struct Outbox {
    db: Db,
    clients: ReceiverClients,
    metrics: OutboxMetrics,
    /// The periodic poll's report that there are receivers.
    active: watch::Receiver<bool>,
    /// Notified when a receiver was changed through this replica.
    changed: Arc<Notify>,
    sender: Uuid,
    held: HashMap<String, Receiver>,
    log: EventLog,
    sends: JoinSet<Sent>,
    answers: Vec<Sent>,
    /// Commits whose result is not known.
    unfinished: Vec<OutboxCommit>,
    times: Times,
    failures: LogThrottle,
}

/// When things are due, and until when this sender may send.
struct Times {
    beat: Instant,
    read: Instant,
    found: Option<Instant>,
    leased: Instant,
    /// The database's time, and when it was read.
    clock: Option<(DateTime<Utc>, Instant)>,
}

impl Outbox {
    pub(super) fn new(
        db: Db,
        clients: ReceiverClients,
        metrics: OutboxMetrics,
        active: watch::Receiver<bool>,
        changed: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        Self {
            db,
            clients,
            metrics,
            active,
            changed,
            sender: Uuid::new_v4(),
            held: HashMap::new(),
            log: EventLog::default(),
            sends: JoinSet::new(),
            answers: Vec::new(),
            unfinished: Vec::new(),
            times: Times { beat: now, read: now, found: None, leased: now, clock: None },
            failures: LogThrottle::new(),
        }
    }

    /// Delivers until `stop`, then waits a moment for answers and releases the receivers.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wake = match self.pass().await {
                Ok(Some(wake)) => wake,
                Ok(None) => {
                    // No receivers: not a single statement until there are.
                    self.metrics.idle();
                    self.log = EventLog::default();
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = turned_on(&mut self.active) => {}
                        () = stop.cancelled() => {}
                    }
                    continue;
                }
                Err(error) => {
                    warn_throttled(&self.failures, &error, "events not delivered to receivers, retrying");
                    Instant::now() + ERROR_WAIT
                }
            };
            tokio::select! {
                Some(sent) = self.sends.join_next() => self.answers.extend(sent.ok()),
                () = sleep_until(wake) => {}
                () = self.changed.notified() => self.times.beat = Instant::now(),
                () = stop.cancelled() => {}
            }
            self.take_answers();
        }
        self.end().await;
    }

    fn take_answers(&mut self) {
        while let Some(sent) = self.sends.try_join_next() {
            self.answers.extend(sent.ok());
        }
    }

    /// Commits answers, renews leases, reads events and starts requests. Returns the time of the next pass; none without receivers.
    async fn pass(&mut self) -> Result<Option<Instant>, DbError> {
        self.settle().await?;
        let now = Instant::now();
        if self.times.beat <= now {
            if !self.beat().await? {
                return Ok(None);
            }
            self.times.beat = now + BEAT;
        }
        if self.times.read <= now && !self.held.is_empty() {
            self.read(now).await?;
        }
        let clock = self.now();
        for receiver in self.held.values_mut() {
            receiver.set_time(clock);
        }
        self.fill().await?;
        if let Some(now) = clock {
            self.held.values_mut().for_each(|receiver| receiver.defer(now));
        }
        self.start_requests();
        self.measure();
        Ok(Some(self.times.beat.min(if self.held.is_empty() { self.times.beat } else { self.times.read })))
    }

    /// Decides about all answers so far, and commits the result.
    async fn settle(&mut self) -> Result<(), DbError> {
        self.finish().await?;
        for sent in std::mem::take(&mut self.answers) {
            self.take(sent);
        }
        self.unfinished = self.held.values_mut().filter_map(Receiver::commit).collect();
        self.finish().await
    }

    fn take(&mut self, sent: Sent) {
        let Some(receiver) = self.held.get_mut(&sent.receiver).filter(|one| one.holding == sent.holding) else {
            return;
        };
        let answered = match sent.answer {
            Ok(answered) => answered,
            Err(error) => {
                warn_throttled(&self.failures, &error, "a deployment was not read for its receiver, retrying");
                receiver.pause(Instant::now() + ERROR_WAIT);
                receiver.not_sent(sent.send);
                return;
            }
        };
        if !sent.pause.is_zero() {
            receiver.pause(Instant::now() + sent.pause);
        }
        receiver.shown_by(answered.shown);
        let settled = receiver.answered(&sent.send, &answered.answer, rand::random());
        self.metrics.settled(receiver.settings.settings.kind().as_str(), settled.as_str());
        if settled != Settled::Delivered {
            let (receiver, event) = (&sent.receiver, sent.send.event.id());
            let reason = answered.answer.reason.unwrap_or_default();
            tracing::debug!(receiver, %event, reason, "delivery failed");
        }
    }

    /// Commits what is unfinished, or repeats it after an error.
    async fn finish(&mut self) -> Result<(), DbError> {
        if self.unfinished.is_empty() {
            return Ok(());
        }
        let held = around("outbox commit", self.db.commit_outbox(self.sender, &self.unfinished)).await?;
        let mut recount = Vec::new();
        for commit in std::mem::take(&mut self.unfinished) {
            let id = commit.receiver;
            if commit.gone {
                tracing::warn!(receiver = id, "receiver disabled, it answered that it exists no longer");
            }
            if !held.contains(&id) {
                tracing::warn!(receiver = id, "receiver is no longer held by this replica, dropping its deliveries");
                self.held.remove(&id);
            } else if let Some(receiver) = self.held.get_mut(&id) {
                receiver.committed(commit.version + 1);
                // Rows may have ended with it.
                if !commit.shown.is_empty() && receiver.open() > 0 {
                    recount.push(id);
                }
            }
        }
        self.count_open(&recount).await
    }

    async fn read(&mut self, now: Instant) -> Result<(), DbError> {
        let read = self.log.read(&self.db).await?;
        let found = read == LogRead::Found;
        if found {
            self.times.found = Some(now);
        }
        if read == LogRead::Lost {
            tracing::warn!("events already read are missing from the database, reading the cursors of receivers again");
            self.held.clear();
            self.times.beat = now;
        }
        let recent = self.times.found.is_some_and(|at| now - at < RECENT);
        let wait = match (found, recent) {
            (true, _) => BUSY_READ,
            (false, true) => RECENT_READ,
            (false, false) => IDLE_READ,
        };
        self.times.read = now + wait;
        Ok(())
    }

    /// Gives each receiver the events after its position: from the log, or from the table where it is further behind.
    async fn fill(&mut self) -> Result<(), DbError> {
        for receiver in self.held.values_mut() {
            let places = receiver.capacity();
            if places == 0 {
                continue;
            }
            if let Some(events) = self.log.after(receiver.read_position(), places) {
                receiver.fill(events);
            } else if places >= PAGE_PLACES {
                let events = page(&self.db, receiver.read_position(), i64::try_from(places).unwrap_or(1)).await?;
                if events.is_empty() {
                    receiver.skip_to(self.log.before());
                } else {
                    self.times.read = Instant::now();
                }
                receiver.fill(events);
            }
        }
        Ok(())
    }

    fn start_requests(&mut self) {
        let Some(now) = self.now().filter(|_| Instant::now() < self.times.leased) else { return };
        for receiver in self.held.values_mut() {
            for send in receiver.sends(Instant::now()) {
                let delivery = Delivery {
                    db: self.db.clone(),
                    clients: self.clients.clone(),
                    receiver: Arc::clone(&receiver.settings),
                    holding: receiver.holding,
                    may_exist: receiver.may_be_repeated(&send),
                    now,
                };
                self.sends.spawn(delivery.make(send));
            }
        }
    }

    /// The present time by the database's clock.
    fn now(&self) -> Option<DateTime<Utc>> {
        let (read, at) = self.times.clock?;
        Some(read + TimeDelta::from_std(at.elapsed()).unwrap_or_default())
    }

    fn measure(&self) {
        let oldest = self.held.values().filter_map(Receiver::oldest).min();
        let lag = self.now().zip(oldest).and_then(|(now, oldest)| (now - oldest).to_std().ok());
        let open = self.held.values().map(Receiver::open).sum();
        self.metrics.set_state(lag.unwrap_or_default(), open);
    }

    /// Waits for answers, commits them and releases the receivers. What is not answered in time is sent again by another replica.
    async fn end(mut self) {
        let end = Instant::now() + DRAIN;
        while let Ok(Some(sent)) = timeout_at(end, self.sends.join_next()).await {
            self.answers.extend(sent.ok());
        }
        let ended = async {
            self.settle().await?;
            self.db.end_sender(self.sender).await
        };
        if let Ok(Err(error)) = timeout_at(end + DRAIN, ended).await {
            tracing::warn!(%error, "receivers not released, another replica delivers them when the lease ends");
        }
    }
}

/// Completes when the poll reports receivers.
async fn turned_on(active: &mut watch::Receiver<bool>) {
    active.mark_unchanged();
    while active.changed().await.is_ok() {
        if *active.borrow_and_update() {
            return;
        }
    }
    std::future::pending::<()>().await;
}
