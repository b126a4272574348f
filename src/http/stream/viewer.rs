//! What all streams have in common: comments, keep-alives, their end. What is told is a [`Course`].

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::frame;
use super::seats::Seat;
use crate::http::auth::Right;

/// Time between two comments that keep proxies from closing a quiet connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Time after which a reading that failed is tried again.
pub const RETRY: Duration = Duration::from_secs(1);

/// Rows of one reading of the table: they are held in memory for one viewer alone.
pub const PAGE: i64 = 32;

/// Most bytes of parameters of such a reading, unless the first event alone has more.
pub const PAGE_BYTES: i64 = 16 * 1024;

/// What there is to do.
#[derive(Debug)]
pub enum Turn {
    /// Send this.
    Send(Bytes),
    /// Look again when something changed, or at [`Course::timer`].
    Wait,
    /// Close the stream.
    End,
}

/// A viewer's way through events.
pub trait Course: Send {
    /// What to do now.
    fn turn(&mut self, now: Instant) -> impl Future<Output = Turn> + Send;

    /// Waits until there may be something else to do.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;

    /// When to look again though nothing changed.
    fn timer(&self) -> Option<Instant>;
}

/// See the module.
#[derive(Debug)]
pub struct Viewer<C> {
    course: C,
    /// Resolves when the right is revoked; none when it cannot be. Kept from event to event, as the timer is.
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    comments: VecDeque<Bytes>,
    keep_alive: Instant,
    /// When the stream ends, whatever is going on: its reader comes back.
    rotation: Instant,
    /// Kept from event to event: setting one for each costs as much as telling it.
    timer: Pin<Box<Sleep>>,
    seat: Seat,
    right: Right,
}

impl<C: Course> Viewer<C> {
    /// A viewer to whom `comments` are said first, for at most `lifetime`, and not longer than `right` lasts.
    pub fn new(
        course: C,
        seat: Seat,
        right: Right,
        lifetime: Duration,
        comments: impl IntoIterator<Item = Bytes>,
    ) -> Self {
        let now = Instant::now();
        Self {
            course,
            ended: right.ended().map(Box::pin),
            comments: comments.into_iter().collect(),
            keep_alive: now + KEEP_ALIVE,
            rotation: now + right.lifetime(lifetime),
            timer: Box::pin(sleep_until(now + KEEP_ALIVE)),
            seat,
            right,
        }
    }

    /// The bytes to send, until the stream ends.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        stream::unfold(self, |mut viewer| async move {
            let bytes = viewer.next().await?;
            viewer.seat.sent(bytes.len());
            Some((Ok(bytes), viewer))
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
            match self.course.turn(now).await {
                Turn::Send(bytes) => return Some(bytes),
                Turn::End => return None,
                Turn::Wait => self.wait().await,
            }
        }
    }

    /// Until there is a reason to look again.
    async fn wait(&mut self) {
        let at = self.keep_alive.min(self.rotation);
        let at = self.course.timer().map_or(at, |timer| timer.min(at));
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
            () = self.course.changed() => {}
            () = &mut self.timer => {}
            () = ended => {}
        }
    }
}
