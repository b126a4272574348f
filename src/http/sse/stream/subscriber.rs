//! The part that all event streams share: comments, keep-alives and the end of the stream. The events come from an [`EventSource`].

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, stream};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::permits::StreamPermit;
use crate::http::auth::Grant;
use crate::http::sse::frame;

/// Delay before a failed read is retried.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Most rows of one page of the table. A page is held in memory for a single subscriber.
pub const PAGE_ROWS: i64 = 32;

/// Most bytes of event parameters of one page, unless the first event alone has more.
pub const PAGE_BYTES: i64 = 16 * 1024;

/// Times of a stream that do not depend on its events.
#[derive(Clone, Copy, Debug)]
pub struct StreamTimes {
    /// Interval of the comments that keep proxies from closing an idle connection.
    pub keep_alive: Duration,
    /// Time after which the stream ends and its reader reconnects; none for a stream that only its source ends.
    pub lifetime: Option<Duration>,
}

/// The next action of a stream.
#[derive(Debug)]
pub enum Poll {
    Send(Bytes),
    /// Poll again after [`EventSource::changed`] or at [`EventSource::timer`].
    Wait,
    End,
}

/// A sequence of encoded events for one subscriber.
pub trait EventSource: Send {
    /// Returns the next event if there is one.
    fn poll(&mut self, now: Instant) -> impl Future<Output = Poll> + Send;

    /// Waits until another [`Self::poll`] may have a different result.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;

    /// Time of the next poll if nothing changes before.
    fn timer(&self) -> Option<Instant>;
}

/// A poll in progress, which returns the source. It may wait for the caller's other replays, for a connection, or for rows.
type Polling<S> = Pin<Box<dyn Future<Output = (S, Poll)> + Send>>;

/// The source of a stream, or the poll that has it. A poll is never dropped for a keep-alive: it would lose its place among the caller's replays, and
/// close its connection.
enum Source<S> {
    Idle(S),
    Polling(Polling<S>),
    /// Only while one of the others replaces the other.
    Taken,
}

/// An open event stream: an event source with comments and keep-alives, which ends with its source, its lifetime or its reader's right.
pub struct Subscriber<S> {
    source: Source<S>,
    /// Resolves when the right is revoked; `None` when it cannot be revoked. Kept between events, like the timer.
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    comments: VecDeque<Bytes>,
    times: StreamTimes,
    keep_alive: Instant,
    /// End of the stream's lifetime, even with events pending: its reader reconnects. None when only the source or a revocation ends the stream.
    rotation: Option<Instant>,
    /// Kept between events: creating a timer for each event costs as much as sending the event.
    timer: Pin<Box<Sleep>>,
    permit: StreamPermit,
    right: Grant,
}

impl<S> fmt::Debug for Subscriber<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("keep_alive", &self.keep_alive).finish_non_exhaustive()
    }
}

impl<S: EventSource + 'static> Subscriber<S> {
    /// Sends `comments` first. The stream ends after its lifetime, if it has one, or earlier when `right` ends.
    pub fn new(
        source: S,
        permit: StreamPermit,
        right: Grant,
        times: StreamTimes,
        comments: impl IntoIterator<Item = Bytes>,
    ) -> Self {
        let now = Instant::now();
        Self {
            source: Source::Idle(source),
            ended: right.ended().map(Box::pin),
            comments: comments.into_iter().collect(),
            times,
            keep_alive: now + times.keep_alive,
            rotation: right.lifetime(times.lifetime).and_then(|lifetime| now.checked_add(lifetime)),
            timer: Box::pin(sleep_until(now + times.keep_alive)),
            permit,
            right,
        }
    }

    /// Returns the body of the response, and counts its bytes.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        stream::unfold(self, |mut subscriber| async move {
            let bytes = subscriber.next().await?;
            subscriber.permit.count_sent(bytes.len());
            Some((Ok(bytes), subscriber))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.right.is_over() {
                return None;
            }
            if let Some(comment) = self.comments.pop_front() {
                return Some(comment);
            }
            let now = Instant::now();
            if self.rotation.is_some_and(|rotation| rotation <= now) {
                return None;
            }
            if self.keep_alive <= now {
                self.keep_alive = now + self.times.keep_alive;
                return Some(frame::comment("keep-alive"));
            }
            match self.poll(now).await {
                Some(Poll::Send(bytes)) => return Some(bytes),
                Some(Poll::End) => return None,
                Some(Poll::Wait) => self.wait().await,
                None => {}
            }
        }
    }

    /// Polls the source, or continues a poll that was interrupted. Returns none when a keep-alive or the end of the stream is due before the result.
    async fn poll(&mut self, now: Instant) -> Option<Poll> {
        let mut polling: Polling<S> = match mem::replace(&mut self.source, Source::Taken) {
            Source::Idle(mut source) => Box::pin(async move {
                let poll = source.poll(now).await;
                (source, poll)
            }),
            Source::Polling(polling) => polling,
            Source::Taken => return Some(Poll::End),
        };
        // Most polls find an event in memory, and need no timer.
        let mut polled = polling.as_mut().now_or_never();
        if polled.is_none() {
            self.set_timer(None);
            polled = tokio::select! {
                polled = polling.as_mut() => Some(polled),
                () = &mut self.timer => None,
                () = ended(&mut self.ended) => None,
            };
        }
        let (source, poll) = match polled {
            Some((source, poll)) => (Source::Idle(source), Some(poll)),
            None => (Source::Polling(polling), None),
        };
        self.source = source;
        poll
    }

    /// Waits for a reason to poll again: a change, the next timer, or the end of the right.
    async fn wait(&mut self) {
        let Source::Idle(source) = &self.source else { return };
        let earlier = source.timer();
        self.set_timer(earlier);
        let Source::Idle(source) = &mut self.source else { return };
        tokio::select! {
            () = source.changed() => {}
            () = &mut self.timer => {}
            () = ended(&mut self.ended) => {}
        }
    }

    /// Sets the timer to the next keep-alive, the end of the lifetime, or `earlier`.
    fn set_timer(&mut self, earlier: Option<Instant>) {
        let at = [self.rotation, earlier].into_iter().flatten().fold(self.keep_alive, Instant::min);
        if self.timer.deadline() != at {
            self.timer.as_mut().reset(at);
        }
    }
}

/// Resolves when the right is revoked; never when it cannot be revoked.
async fn ended(right: &mut Option<Pin<Box<WaitForCancellationFutureOwned>>>) {
    match right {
        Some(ended) => ended.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::http::sse::stream::permits::StreamPermits;

    /// A source whose events wait for permits, as replays wait for the caller's other replays.
    struct Waiting {
        permits: Arc<Semaphore>,
        polls: usize,
    }

    impl EventSource for Waiting {
        async fn poll(&mut self, _now: Instant) -> Poll {
            self.polls += 1;
            let Ok(permit) = self.permits.acquire().await else { return Poll::End };
            permit.forget();
            Poll::Send(format!("event of poll {}", self.polls).into())
        }

        async fn changed(&mut self) {
            std::future::pending::<()>().await;
        }

        fn timer(&self) -> Option<Instant> {
            None
        }
    }

    #[tokio::test]
    async fn waiting_stream_sends_keep_alives_and_keeps_its_place() {
        const SOON: Duration = Duration::from_millis(30);
        let permits = Arc::new(Semaphore::new(0));
        let source = Waiting { permits: Arc::clone(&permits), polls: 0 };
        let permit = StreamPermits::new(1, 1).acquire(IpAddr::from([127, 0, 0, 1])).unwrap();
        let comments = [frame::comment("first")];
        let times = StreamTimes { keep_alive: Duration::from_secs(15), lifetime: Some(Duration::from_mins(1)) };
        let mut stream = Subscriber::new(source, permit, Grant::none(), times, comments);
        assert_eq!(stream.next().await, Some(frame::comment("first")));
        for _ in 0..2 {
            stream.keep_alive = Instant::now() + SOON;
            assert_eq!(stream.next().await, Some(frame::comment("keep-alive")));
        }
        permits.add_permits(1);
        assert_eq!(stream.next().await.as_deref(), Some(&b"event of poll 1"[..]));
        // The end of the lifetime does not wait for the source.
        stream.rotation = Some(Instant::now() + SOON);
        assert_eq!(stream.next().await, None);
    }
}
