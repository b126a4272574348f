//! Distributes events to open streams. New rows of a watched deployment are read once and rendered once in each language,
//! regardless of the number of subscribers ([`broadcast::Broadcast`]).
//!
//! Three triggers cause a read, and each is sufficient: the reconciler of this process committed ([`Hub::notify`]),
//! Postgres notified (`listen`), or the sweep, one query a second, found a row that differs from the published state. A
//! lost notification therefore costs a second. A trigger is never taken for the event itself: each causes a read of the table.
//!
//! Order: a subscriber first subscribes, then reads the state. Anything committed after that read wakes it.
//!
//! Subscribers of all deployments share one [`feed_log::FeedChannel`], which is read on the same triggers, for any deployment.

pub(crate) mod broadcast;
pub(crate) mod buffer;
mod coalescer;
mod deployment_buffer;
mod deployment_log;
mod feed_buffer;
pub(crate) mod feed_log;
mod listen;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::db::{Class, Db};
use crate::metrics::Metrics;
use broadcast::{Broadcast, ChannelState, EventLog, Subscription};
use deployment_log::DeploymentChannel;
pub(crate) use deployment_log::{DeploymentLog, DeploymentProgress, DeploymentState};
use feed_log::{FeedChannel, FeedSubscription, LostEvents};

/// Interval of the query that checks all watched deployments for changes.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Concurrent reads. Many deployments that change together must not occupy the whole connection pool.
const MAX_READS: usize = 4;

/// The hub of this process. Clones share their state.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Db,
    /// Pool for pages that a single subscriber reads.
    replays: Db,
    channels: Mutex<HashMap<String, Arc<DeploymentChannel>>>,
    /// Dropped with its last subscriber.
    feed: Mutex<Weak<FeedChannel>>,
    /// Events that a failover lost, each with the last surviving event before it in the order of all events: their readers resume there.
    lost: Arc<Mutex<LostEvents>>,
    metrics: Metrics,
    reads: Arc<Semaphore>,
    /// Notified at each subscription.
    subscribed: Notify,
    /// Set at shutdown, before the channels are closed: new channels are closed immediately.
    closed: AtomicBool,
}

impl Hub {
    /// Spawns the tasks that listen, sweep and close the streams at `shutdown`.
    pub fn start(db: Db, metrics: Metrics, shutdown: &CancellationToken) -> Self {
        let reads = Arc::new(Semaphore::new(MAX_READS));
        let inner = Arc::new(Inner {
            replays: db.of(Class::Replay),
            db,
            channels: Mutex::default(),
            feed: Mutex::default(),
            lost: Arc::default(),
            metrics,
            reads,
            subscribed: Notify::new(),
            closed: AtomicBool::new(false),
        });
        for task in [Task::Listen, Task::Sweep, Task::Close] {
            let (inner, shutdown) = (Arc::clone(&inner), shutdown.clone());
            tokio::spawn(async move {
                match task {
                    Task::Listen => _ = shutdown.run_until_cancelled(listen::run(inner)).await,
                    Task::Sweep => _ = shutdown.run_until_cancelled(inner.sweep()).await,
                    Task::Close => inner.close_after(&shutdown).await,
                }
            });
        }
        Self { inner }
    }

    /// Announces that a deployment may have new events.
    pub fn notify(&self, deployment_id: &str) {
        self.inner.refresh(deployment_id);
    }

    /// Subscribes to a deployment, which need not exist. Dropping the result ends the subscription.
    pub(crate) fn subscribe(&self, deployment_id: &str) -> DeploymentSubscription {
        let mut channels = self.inner.channels();
        let existing = channels.get(deployment_id).filter(|channel| !channel.is_diverged()).cloned();
        let channel = existing.unwrap_or_else(|| {
            let channel = Arc::new(DeploymentChannel::of(deployment_id));
            channels.insert(deployment_id.to_owned(), Arc::clone(&channel));
            channel
        });
        let updates = Subscription::new(Arc::clone(&channel));
        if self.inner.closed.load(Ordering::Relaxed) {
            channel.close();
        }
        drop(channels);
        self.inner.subscribed.notify_one();
        self.inner.refresh_channel(&channel);
        DeploymentSubscription { inner: Arc::clone(&self.inner), deployment_id: deployment_id.to_owned(), updates }
    }

    /// Subscribes to all deployments. Dropping the result ends the subscription.
    pub(crate) fn subscribe_to_all(&self) -> FeedSubscription {
        let feed = {
            let mut current = self.inner.feed.lock();
            current.upgrade().filter(|feed| !feed.is_diverged()).unwrap_or_else(|| {
                let feed = Arc::new(FeedChannel::with_lost(Arc::clone(&self.inner.lost)));
                *current = Arc::downgrade(&feed);
                if self.inner.closed.load(Ordering::Relaxed) {
                    feed.close();
                }
                feed
            })
        };
        let subscription = FeedSubscription::new(self.inner.replays.clone(), feed);
        self.inner.subscribed.notify_one();
        self.inner.refresh_feed();
        subscription
    }

    /// Counts the deployments that have at least one subscriber. Subscribers of the feed do not count.
    pub fn watched(&self) -> usize {
        self.inner.channels().len()
    }
}

enum Task {
    Listen,
    Sweep,
    Close,
}

impl Inner {
    fn channels(&self) -> MutexGuard<'_, HashMap<String, Arc<DeploymentChannel>>> {
        self.channels.lock()
    }

    fn has_subscribers(&self) -> bool {
        let feed = self.feed.lock().strong_count();
        feed > 0 || !self.channels().is_empty()
    }

    fn refresh(self: &Arc<Self>, deployment_id: &str) {
        self.refresh_feed();
        let channel = self.channels().get(deployment_id).cloned();
        if let Some(channel) = channel {
            self.refresh_channel(&channel);
        }
    }

    fn refresh_all(self: &Arc<Self>) {
        self.refresh_feed();
        let channels: Vec<_> = self.channels().values().cloned().collect();
        for channel in &channels {
            self.refresh_channel(channel);
        }
    }

    /// Reads the feed if it has subscribers.
    fn refresh_feed(self: &Arc<Self>) {
        let feed = self.feed.lock().upgrade();
        if let Some(feed) = feed {
            self.refresh_channel(&feed);
        }
    }

    /// Spawns a read of the channel. A read in progress reads once more instead.
    fn refresh_channel<L: EventLog>(self: &Arc<Self>, channel: &Arc<Broadcast<L>>) {
        if channel.is_ended() || !channel.reads.request() {
            return;
        }
        let (inner, channel) = (Arc::clone(self), Arc::clone(channel));
        tokio::spawn(async move {
            loop {
                let delay = {
                    // The semaphore is never closed; an error would only lift the limit on concurrent reads.
                    let _permit = inner.reads.acquire().await;
                    L::read(&channel, &inner.db, &inner.metrics).await
                };
                if channel.is_ended() {
                    break;
                }
                // Requests that arrived meanwhile wait too: events that are held back cannot be read earlier.
                if let Some(delay) = delay.filter(|_| channel.has_subscribers()) {
                    tokio::time::sleep(delay).await;
                } else if channel.reads.finish() {
                    break;
                }
            }
        });
    }

    /// Closes all streams at `shutdown`. It does so through the channel state that the streams wait for anyway: a further future to wait for would
    /// cost time with each event.
    async fn close_after(&self, shutdown: &CancellationToken) {
        shutdown.cancelled().await;
        // Subscribing takes the same locks: a new subscriber is either closed here or sees the flag.
        let channels = self.channels();
        self.closed.store(true, Ordering::Relaxed);
        for channel in channels.values() {
            channel.close();
        }
        drop(channels);
        let feed = self.feed.lock();
        if let Some(feed) = feed.upgrade() {
            feed.close();
        }
    }

    async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.refresh_feed();
            let watched: HashMap<String, Arc<DeploymentChannel>> = self.channels().clone();
            if watched.is_empty() {
                continue;
            }
            let ids: Vec<String> = watched.keys().cloned().collect();
            match self.db.stream_states(&ids).await {
                Ok(states) => self.refresh_changed(watched, states),
                Err(error) => {
                    tracing::warn!(%error, watched = ids.len(), "watched deployments cannot be polled, retrying");
                    for channel in watched.values() {
                        channel.publish(ChannelState::Unavailable);
                    }
                }
            }
        }
    }

    fn refresh_changed(
        self: &Arc<Self>,
        mut watched: HashMap<String, Arc<DeploymentChannel>>,
        states: Vec<(String, crate::db::events::StreamState)>,
    ) {
        for (id, state) in states {
            if let Some(channel) = watched.remove(&id).filter(|channel| channel.is_behind(state)) {
                self.refresh_channel(&channel);
            }
        }
        for channel in watched.values() {
            channel.publish(ChannelState::Missing);
        }
    }
}

/// A subscription to a deployment. Dropping the last one drops the deployment's channel.
#[derive(Debug)]
pub struct DeploymentSubscription {
    inner: Arc<Inner>,
    deployment_id: String,
    pub(crate) updates: Subscription<DeploymentLog>,
}

impl DeploymentSubscription {
    pub(crate) fn deployment_id(&self) -> &str {
        &self.deployment_id
    }

    /// Returns the database pool for events that are not buffered.
    pub(crate) fn replays(&self) -> &Db {
        &self.inner.replays
    }
}

impl Drop for DeploymentSubscription {
    fn drop(&mut self) {
        let mut channels = self.inner.channels();
        // Before the check below and under the map's lock: otherwise two subscriptions dropped concurrently could each count the other one.
        self.updates.unsubscribe();
        // Subscribing needs the map's lock, so a channel without subscribers here stays without.
        let channel = self.updates.channel();
        if !channel.has_subscribers()
            && channels.get(&self.deployment_id).is_some_and(|current| Arc::ptr_eq(current, channel))
        {
            channels.remove(&self.deployment_id);
        }
    }
}
