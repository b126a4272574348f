//! The part that all event streams share: comments, keep-alives and the end of the stream. The events come from an [`EventSource`].

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::permits::StreamPermit;
use crate::http::auth::Grant;
use crate::http::sse::frame;

/// Interval of the comments that keep proxies from closing an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Delay before a failed read is retried.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Most rows of one page of the table. A page is held in memory for a single subscriber.
pub const PAGE_ROWS: i64 = 32;

/// Most bytes of event parameters of one page, unless the first event alone has more.
pub const PAGE_BYTES: i64 = 16 * 1024;

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

/// An open event stream: an event source with comments and keep-alives, which ends with its lifetime or with its reader's right.
#[derive(Debug)]
pub struct Subscriber<S> {
    source: S,
    /// Resolves when the right is revoked; `None` when it cannot be revoked. Kept between events, like the timer.
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    comments: VecDeque<Bytes>,
    keep_alive: Instant,
    /// End of the stream's lifetime, even with events pending: its reader reconnects.
    rotation: Instant,
    /// Kept between events: creating a timer for each event costs as much as sending the event.
    timer: Pin<Box<Sleep>>,
    permit: StreamPermit,
    right: Grant,
}

impl<S: EventSource> Subscriber<S> {
    /// Sends `comments` first. The stream ends after `lifetime`, or earlier when `right` ends.
    pub fn new(
        source: S,
        permit: StreamPermit,
        right: Grant,
        lifetime: Duration,
        comments: impl IntoIterator<Item = Bytes>,
    ) -> Self {
        let now = Instant::now();
        Self {
            source,
            ended: right.ended().map(Box::pin),
            comments: comments.into_iter().collect(),
            keep_alive: now + KEEP_ALIVE,
            rotation: now + right.lifetime(lifetime),
            timer: Box::pin(sleep_until(now + KEEP_ALIVE)),
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
            if self.rotation <= now {
                return None;
            }
            if self.keep_alive <= now {
                self.keep_alive = now + KEEP_ALIVE;
                return Some(frame::comment("keep-alive"));
            }
            match self.source.poll(now).await {
                Poll::Send(bytes) => return Some(bytes),
                Poll::End => return None,
                Poll::Wait => self.wait().await,
            }
        }
    }

    /// Waits for a reason to poll again: a change, the next timer, or the end of the right.
    async fn wait(&mut self) {
        let at = self.keep_alive.min(self.rotation);
        let at = self.source.timer().map_or(at, |timer| timer.min(at));
        if self.timer.deadline() != at {
            self.timer.as_mut().reset(at);
        }
        let ended = async {
            match &mut self.ended {
                Some(ended) => ended.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.source.changed() => {}
            () = &mut self.timer => {}
            () = ended => {}
        }
    }
}
