//! The events of one deployment for one subscriber. Replay, live and resume are the same operation: send the rows after `n`, then wait.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::subscriber::{EventSource, PAGE_BYTES, PAGE_ROWS, Poll, RETRY_AFTER};
use crate::db::DbError;
use crate::db::events::{EventPosition, EventsAfter};
use crate::domain::catalogue::Lang;
use crate::domain::event::StoredEvent;
use crate::http::middleware::caller_limit::YieldingShare;
use crate::http::sse::frame;
use crate::http::sse::hub::broadcast::ChannelState;
use crate::http::sse::hub::buffer::NextFrame;
use crate::http::sse::hub::{DeploymentProgress, DeploymentSubscription};

/// Delay between the last event and the end of the stream when the deployment can have no more events.
const LINGER: Duration = Duration::from_secs(5);

/// The event after which a deployment stream starts or resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumePoint {
    After(EventPosition),
    /// The sequence number of this event id is resolved later, because the database was unavailable.
    AfterId(Uuid),
}

/// Event source of one deployment. It buffers at most one page of frames.
#[derive(Debug)]
pub struct DeploymentStream {
    subscription: DeploymentSubscription,
    /// The caller's share of the replays.
    share: YieldingShare,
    resume_point: ResumePoint,
    lang: Lang,
    /// Frames from the table with their positions, in order, starting directly after `resume_point`.
    page: VecDeque<(EventPosition, Bytes)>,
    /// End of the stream unless another event arrives before.
    end: Option<Instant>,
    /// Time of the next attempt after a failed read.
    retry: Option<Instant>,
}

impl EventSource for DeploymentStream {
    async fn poll(&mut self, now: Instant) -> Poll {
        let DeploymentProgress { last_seq, active } = match self.subscription.updates.state() {
            ChannelState::Unread | ChannelState::Unavailable => return Poll::Wait,
            ChannelState::Missing | ChannelState::Closed | ChannelState::Diverged => return Poll::End,
            ChannelState::Live(progress) => progress,
        };
        if self.retry.is_some_and(|at| at > now) {
            return Poll::Wait;
        }
        self.retry = None;
        let result = match self.resume_point {
            ResumePoint::AfterId(id) => self.resolve(id, last_seq, active).await,
            ResumePoint::After(position) if position.seq < last_seq => self.next_frame(position).await,
            // The position was resolved before a failover, and the hub noticed the failover since.
            ResumePoint::After(position) if self.subscription.updates.channel().buffer().is_lost(position) => {
                return Poll::End;
            }
            ResumePoint::After(_) => return self.wait_or_end(active, now),
        };
        result.unwrap_or_else(|error| {
            tracing::warn!(deployment = self.subscription.deployment_id(), %error, "event stream cannot read events, retrying");
            self.retry_later()
        })
    }

    async fn changed(&mut self) {
        self.subscription.updates.changed().await;
    }

    fn timer(&self) -> Option<Instant> {
        [self.end, self.retry].into_iter().flatten().min()
    }
}

impl DeploymentStream {
    pub fn new(
        subscription: DeploymentSubscription,
        share: YieldingShare,
        resume_point: ResumePoint,
        lang: Lang,
    ) -> Self {
        Self { subscription, share, resume_point, lang, page: VecDeque::new(), end: None, retry: None }
    }

    fn retry_later(&mut self) -> Poll {
        self.retry = Some(Instant::now() + RETRY_AFTER);
        Poll::Wait
    }

    /// Resolves the sequence number of an event id once the database is back.
    async fn resolve(&mut self, id: Uuid, last_seq: i64, active: bool) -> Result<Poll, DbError> {
        // Boxed, here and below: an unboxed future enlarges every stream, and most streams never read the table.
        let _permit = Box::pin(self.share.acquire()).await;
        let seq = Box::pin(self.subscription.replays().event_seq(self.subscription.deployment_id(), id)).await?;
        let position = seq.map_or_else(EventPosition::default, |seq| EventPosition { seq, id: Some(id) });
        self.resume_point = ResumePoint::After(position);
        if position.seq > 0 && position.seq >= last_seq && !active {
            // The response has begun, so a 204 is no longer possible: the reader gets it when it reconnects.
            return Ok(Poll::End);
        }
        self.next_frame(position).await
    }

    /// Returns the next frame after `position`. Sequence numbers may have gaps, because retention removes events of finished deployments.
    async fn next_frame(&mut self, position: EventPosition) -> Result<Poll, DbError> {
        self.end = None;
        if self.page.is_empty() {
            let after = self.subscription.updates.channel().buffer().after(position, self.lang);
            match after {
                NextFrame::Frame(frame, position) => self.page.push_back((position, frame)),
                NextFrame::Older(until) => match self.read_page(position, until.seq).await? {
                    Some(page) => self.page = page,
                    None => return Ok(Poll::End),
                },
                NextFrame::Nothing(_) => {}
                NextFrame::Lost => return Ok(Poll::End),
            }
        }
        // No frame although `last_seq` counts one: the state is briefly ahead of the buffer, or the deployment was deleted and the state will become
        // `Missing`.
        let Some((position, frame)) = self.page.pop_front() else { return Ok(self.retry_later()) };
        self.resume_point = ResumePoint::After(position);
        Ok(Poll::Send(frame))
    }

    /// Reads the frames after an event from the table. Returns `None` when the table no longer contains that event.
    async fn read_page(
        &self,
        after: EventPosition,
        until: i64,
    ) -> Result<Option<VecDeque<(EventPosition, Bytes)>>, DbError> {
        let limit = PAGE_ROWS.min(until - after.seq);
        let _permit = Box::pin(self.share.acquire()).await;
        let events =
            self.subscription.replays().events_page(self.subscription.deployment_id(), after, limit, PAGE_BYTES);
        let EventsAfter::Events(events) = Box::pin(events).await? else { return Ok(None) };
        let framed = |event: &StoredEvent| {
            (EventPosition { seq: event.seq, id: Some(event.id) }, frame::encode(event, self.lang))
        };
        Ok(Some(events.iter().map(framed).collect()))
    }

    /// Waits for more events once all are sent. A deployment that is not active any more ends the stream after [`LINGER`].
    fn wait_or_end(&mut self, active: bool, now: Instant) -> Poll {
        if active {
            self.end = None;
            return Poll::Wait;
        }
        if *self.end.get_or_insert(now + LINGER) <= now { Poll::End } else { Poll::Wait }
    }
}
