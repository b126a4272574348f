//! The events of all deployments for one subscriber: those that match its filter, in the order of the table.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

use super::subscriber::{EventSource, PAGE_BYTES, PAGE_ROWS, Poll, RETRY_AFTER};
use crate::db::DbError;
use crate::db::feed::{FeedPage, FeedPosition};
use crate::domain::catalogue::Lang;
use crate::http::middleware::caller_limit::YieldingShare;
use crate::http::sse::feed_event_id::FeedEventId;
use crate::http::sse::filter::FeedFilter;
use crate::http::sse::frame;
use crate::http::sse::hub::broadcast::ChannelState;
use crate::http::sse::hub::buffer::NextFrame;
use crate::http::sse::hub::feed_log::FeedSubscription;

/// Limits of one page from the table for a filtered stream: rows, and bytes of their parameters. Larger than those of an unfiltered stream, because a
/// scope of few repositories discards most rows.
const FILTERED_PAGE: (i64, i64) = (512, 256 * 1024);

/// Most frames kept of one page.
const MAX_PAGE_FRAMES: usize = 32;

/// The event after which a feed stream starts or resumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedResumePoint {
    /// Sends only events that are written from now on.
    Now,
    After(FeedPosition),
    /// The position of this event id is resolved later, because the database was unavailable.
    AfterId(FeedEventId),
}

/// Event source of all deployments. It buffers at most one page of frames.
#[derive(Debug)]
pub struct FeedStream {
    subscription: FeedSubscription,
    /// The caller's share of the replays.
    share: YieldingShare,
    resume_point: FeedResumePoint,
    filter: Box<FeedFilter>,
    lang: Lang,
    /// Frames from the table, in order, each with the position to resume from once it is sent.
    page: VecDeque<(Bytes, FeedPosition)>,
    /// Time of the next attempt after a failed read.
    retry: Option<Instant>,
}

impl EventSource for FeedStream {
    async fn poll(&mut self, now: Instant) -> Poll {
        match self.subscription.updates.state() {
            ChannelState::Unread | ChannelState::Unavailable => return Poll::Wait,
            ChannelState::Missing | ChannelState::Closed | ChannelState::Diverged => return Poll::End,
            ChannelState::Live(_) => {}
        }
        if self.retry.is_some_and(|at| at > now) {
            return Poll::Wait;
        }
        self.retry = None;
        match self.next_frame().await {
            Ok(poll) => poll,
            Err(error) => {
                tracing::warn!(%error, "stream of all deployments cannot read events, retrying");
                self.retry = Some(Instant::now() + RETRY_AFTER);
                Poll::Wait
            }
        }
    }

    async fn changed(&mut self) {
        self.subscription.updates.changed().await;
    }

    fn timer(&self) -> Option<Instant> {
        self.retry
    }
}

impl FeedStream {
    pub fn new(
        subscription: FeedSubscription,
        share: YieldingShare,
        resume_point: FeedResumePoint,
        filter: FeedFilter,
        lang: Lang,
    ) -> Self {
        Self { subscription, share, resume_point, filter: Box::new(filter), lang, page: VecDeque::new(), retry: None }
    }

    /// Returns the next matching frame after the resume point, or waits.
    async fn next_frame(&mut self) -> Result<Poll, DbError> {
        loop {
            if let Some((frame, position)) = self.page.pop_front() {
                self.resume_point = FeedResumePoint::After(position);
                return Ok(Poll::Send(frame));
            }
            let position = match &self.resume_point {
                FeedResumePoint::After(position) => position,
                FeedResumePoint::Now => {
                    self.resume_point = FeedResumePoint::After(self.subscription.updates.channel().buffer().last());
                    continue;
                }
                FeedResumePoint::AfterId(id) => {
                    // Boxed, here and below: an unboxed future enlarges every stream, and most streams never read the table.
                    let _permit = Box::pin(self.share.acquire()).await;
                    let position = Box::pin(self.subscription.resume(*id)).await?;
                    self.resume_point = position.map_or(FeedResumePoint::Now, FeedResumePoint::After);
                    continue;
                }
            };
            let after = self.subscription.updates.channel().buffer().after(position, &self.filter, self.lang);
            match after {
                NextFrame::Frame(frame, position) => {
                    self.resume_point = FeedResumePoint::After(position);
                    return Ok(Poll::Send(frame));
                }
                NextFrame::Nothing(position) => {
                    self.resume_point = FeedResumePoint::After(position);
                    return Ok(Poll::Wait);
                }
                NextFrame::Older(until) => {
                    let position = position.clone();
                    if !self.read_page(position, until).await? {
                        return Ok(Poll::End);
                    }
                }
                NextFrame::Lost => return Ok(Poll::End),
            }
        }
    }

    /// Reads a page of the table from `position` to `until` at most. A page without a matching event moves the resume point past it. Returns false
    /// when the table no longer contains the event at `position`.
    async fn read_page(&mut self, position: FeedPosition, until: FeedPosition) -> Result<bool, DbError> {
        let end = until.key.transaction.saturating_add(1);
        let (rows, bytes) = if self.filter.matches_all() { (PAGE_ROWS, PAGE_BYTES) } else { FILTERED_PAGE };
        let _permit = Box::pin(self.share.acquire()).await;
        let events = self.subscription.db().feed(&position, end, rows, bytes);
        let FeedPage::Events(events) = Box::pin(events).await? else { return Ok(false) };
        let mut resume_after = match events.last() {
            Some(last) if last.key < until.key => last.position(),
            _ => until.clone(),
        };
        for event in events.iter().filter(|event| event.key <= until.key && self.filter.matches(event)) {
            self.page.push_back((frame::encode_for_feed(event, self.lang), event.position()));
            if self.page.len() >= MAX_PAGE_FRAMES {
                resume_after = event.position();
                break;
            }
        }
        // Matching frames are sent first. Each carries its own position; the last one carries a position behind the rows that the filter discarded
        // after it.
        match self.page.back_mut() {
            Some((_, last)) => *last = resume_after,
            None => self.resume_point = FeedResumePoint::After(resume_after),
        }
        Ok(true)
    }
}
