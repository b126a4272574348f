//! Where viewers of deployments wait. For each watched deployment, new rows are fetched once and rendered once in each language,
//! whatever the number of viewers.
//!
//! There are three reasons to look at a deployment, and each is enough: the reconciler of this process committed ([`Hub::nudge`]),
//! Postgres notified (`listen`), or the sweep saw in its one query a second that a row differs from what is known. So a
//! lost notification costs a second, and neither is ever taken for the event itself: whoever wakes reads the table.
//!
//! Order: a viewer first subscribes, then looks. Anything committed after its look wakes it.
//!
//! Viewers of all deployments share one [`feed::Feed`], which is looked at for the same reasons, whichever deployment they are about.

pub mod channel;
pub mod feed;
mod listen;
mod reading;
pub mod tail;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::db::{Class, Db};
use crate::metrics::Metrics;
pub use channel::{Channel, Head};
use feed::{Feed, FeedWatch, LostEvents};

/// How often all watched deployments are looked at, in one query.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Readings at once: many deployments that change together must not take the whole pool.
const READINGS: usize = 4;

/// The hub: cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Db,
    /// For what a viewer reads for itself alone.
    replays: Db,
    channels: Mutex<HashMap<String, Arc<Channel>>>,
    /// Gone when nobody watches it.
    feed: Mutex<Weak<Feed>>,
    /// Events that a failover lost, each with the last one before it in the order of all that it did not lose: their readers resume there.
    lost: Arc<Mutex<LostEvents>>,
    metrics: Metrics,
    readings: Arc<Semaphore>,
    /// The process is to end: whoever comes to watch is told so at once. Set before anybody is told.
    closed: AtomicBool,
}

impl Hub {
    /// Starts listening and sweeping, until `shutdown`.
    pub fn start(db: Db, metrics: Metrics, shutdown: &CancellationToken) -> Self {
        let readings = Arc::new(Semaphore::new(READINGS));
        let inner = Arc::new(Inner {
            replays: db.of(Class::Replay),
            db,
            channels: Mutex::default(),
            feed: Mutex::default(),
            lost: Arc::default(),
            metrics,
            readings,
            closed: AtomicBool::new(false),
        });
        for work in [Work::Listen, Work::Sweep, Work::Close] {
            let (inner, shutdown) = (Arc::clone(&inner), shutdown.clone());
            tokio::spawn(async move {
                match work {
                    Work::Listen => _ = shutdown.run_until_cancelled(listen::run(inner)).await,
                    Work::Sweep => _ = shutdown.run_until_cancelled(inner.sweep()).await,
                    Work::Close => inner.close_after(&shutdown).await,
                }
            });
        }
        Self { inner }
    }

    /// Says that a deployment has, or may have, something new.
    pub fn nudge(&self, deployment_id: &str) {
        self.inner.look_at(deployment_id);
    }

    /// Watches a deployment, until the result is dropped.
    pub fn watch(&self, deployment_id: &str) -> Watch {
        let mut channels = self.inner.channels();
        let kept = channels.get(deployment_id).filter(|channel| !channel.is_over()).cloned();
        let channel = kept.unwrap_or_else(|| {
            let channel = Arc::new(Channel::new(deployment_id));
            channels.insert(deployment_id.to_owned(), Arc::clone(&channel));
            channel
        });
        let head = Some(channel.head.subscribe());
        if self.inner.closed.load(Ordering::Relaxed) {
            channel.close();
        }
        drop(channels);
        self.inner.look(&channel);
        Watch { inner: Arc::clone(&self.inner), deployment_id: deployment_id.to_owned(), channel, head }
    }

    /// Watches all deployments, until the result is dropped.
    pub fn watch_all(&self) -> FeedWatch {
        let feed = {
            let mut kept = self.inner.feed.lock().unwrap_or_else(PoisonError::into_inner);
            kept.upgrade().filter(|feed| !feed.is_over()).unwrap_or_else(|| {
                let feed = Arc::new(Feed::new(Arc::clone(&self.inner.lost)));
                *kept = Arc::downgrade(&feed);
                if self.inner.closed.load(Ordering::Relaxed) {
                    feed.close();
                }
                feed
            })
        };
        let watch = FeedWatch::new(self.inner.replays.clone(), Arc::clone(&feed));
        self.inner.look_at_feed();
        watch
    }

    /// How many deployments are watched.
    pub fn watched(&self) -> usize {
        self.inner.channels().len()
    }
}

enum Work {
    Listen,
    Sweep,
    Close,
}

impl Inner {
    fn channels(&self) -> MutexGuard<'_, HashMap<String, Arc<Channel>>> {
        // The map is consistent whenever the lock is free: a panic while it was held does no harm.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_at(self: &Arc<Self>, deployment_id: &str) {
        self.look_at_feed();
        let channel = self.channels().get(deployment_id).cloned();
        if let Some(channel) = channel {
            self.look(&channel);
        }
    }

    fn look_at_all(self: &Arc<Self>) {
        self.look_at_feed();
        let channels: Vec<_> = self.channels().values().cloned().collect();
        for channel in &channels {
            self.look(channel);
        }
    }

    /// Has the feed read, if somebody watches it.
    fn look_at_feed(self: &Arc<Self>) {
        let feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let Some(feed) = feed.filter(|feed| !feed.is_over() && feed.reading.begin()) else { return };
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let again = {
                    let _permit = inner.readings.acquire().await;
                    feed.read(&inner.db, &inner.metrics).await
                };
                if feed.is_over() {
                    break;
                }
                // Asked meanwhile or not: nothing can be read before.
                if let Some(wait) = again.filter(|_| feed.is_watched()) {
                    tokio::time::sleep(wait).await;
                } else if feed.reading.end() {
                    break;
                }
            }
        });
    }

    /// Has the channel read, once however many ask.
    fn look(self: &Arc<Self>, channel: &Arc<Channel>) {
        if channel.is_over() || !channel.reading.begin() {
            return;
        }
        let (inner, channel) = (Arc::clone(self), Arc::clone(channel));
        tokio::spawn(async move {
            loop {
                // The semaphore is never closed; without a permit it would only be less polite.
                let _permit = inner.readings.acquire().await;
                let begun = Instant::now();
                channel.read(&inner.db).await;
                inner.metrics.streams.read(begun.elapsed());
                if channel.reading.end() {
                    break;
                }
            }
        });
    }

    /// Closes all streams at `shutdown`: through what they wait for anyway, since one more thing to wait for is paid with each event.
    async fn close_after(&self, shutdown: &CancellationToken) {
        shutdown.cancelled().await;
        // Under the same locks as those who come to watch: each is told here, or sees the flag.
        let channels = self.channels();
        self.closed.store(true, Ordering::Relaxed);
        for channel in channels.values() {
            channel.close();
        }
        drop(channels);
        let feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feed.upgrade() {
            feed.close();
        }
    }

    async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look_at_feed();
            let watched: HashMap<String, Arc<Channel>> = self.channels().clone();
            if watched.is_empty() {
                continue;
            }
            let ids: Vec<String> = watched.keys().cloned().collect();
            match self.db.stream_states(&ids).await {
                Ok(states) => self.compare(watched, states),
                Err(error) => {
                    tracing::warn!(%error, watched = ids.len(), "watched deployments cannot be looked at now");
                    for channel in watched.values() {
                        channel.tell_away();
                    }
                }
            }
        }
    }

    fn compare(
        self: &Arc<Self>,
        mut watched: HashMap<String, Arc<Channel>>,
        states: Vec<(String, crate::db::events::StreamState)>,
    ) {
        for (id, state) in states {
            if let Some(channel) = watched.remove(&id).filter(|channel| channel.is_behind(state)) {
                self.look(&channel);
            }
        }
        for channel in watched.values() {
            channel.tell_missing();
        }
    }
}

/// A viewer's place at a deployment. Dropping the last one forgets the deployment.
#[derive(Debug)]
pub struct Watch {
    inner: Arc<Inner>,
    deployment_id: String,
    channel: Arc<Channel>,
    /// Taken only when dropped.
    head: Option<watch::Receiver<Head>>,
}

impl Watch {
    /// The deployment's id.
    pub fn deployment_id(&self) -> &str {
        &self.deployment_id
    }

    /// The database, for what the hub does not keep.
    pub fn replays(&self) -> &Db {
        &self.inner.replays
    }

    /// The deployment's newest events.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// What is known now; [`Self::changed`] waits for something else.
    pub fn head(&mut self) -> Head {
        self.head.as_mut().map_or(Head::Missing, |head| *head.borrow_and_update())
    }

    /// Waits until [`Self::head`] has news.
    pub async fn changed(&mut self) {
        let changed = match &mut self.head {
            Some(head) => head.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            // The sender lives as long as we do: this is never reached, and must not be a busy loop if it were.
            std::future::pending::<()>().await;
        }
    }

    /// What is known, once anything is.
    pub async fn first_look(&mut self) -> Head {
        loop {
            match self.head() {
                Head::Unread => self.changed().await,
                head => return head,
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut channels = self.inner.channels();
        self.head = None;
        // Under the map's lock nobody can subscribe: none left means that nobody needs it.
        if self.channel.head.receiver_count() == 0
            && channels.get(&self.deployment_id).is_some_and(|kept| Arc::ptr_eq(kept, &self.channel))
        {
            channels.remove(&self.deployment_id);
        }
    }
}
