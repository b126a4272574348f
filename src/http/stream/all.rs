//! A viewer's course through the events of all deployments: what the filter lets through, in the order of the table.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

use super::ask::FeedId;
use super::filter::Filter;
use super::frame;
use super::viewer::{Course, PAGE, PAGE_BYTES, RETRY, Turn};
use crate::db::DbError;
use crate::db::feed::{FeedPage, FeedPosition};
use crate::domain::catalogue::Lang;
use crate::http::hub::feed::{FeedAfter, FeedHead, FeedWatch};

/// Rows of a reading of the table, and bytes of their parameters, for a viewer who leaves some of them out: a scope of few repositories leaves out most.
const FILTERED: (i64, i64) = (512, 256 * 1024);

/// Most frames of one reading that are kept.
const KEPT: usize = 32;

/// Where a viewer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    Now,
    /// After this event.
    After(FeedPosition),
    /// After the event with this id, whose place is not known yet: the database was away.
    AfterId(FeedId),
}

/// See the module. Holds no frames but those of one page.
#[derive(Debug)]
pub struct All {
    watch: FeedWatch,
    start: Start,
    filter: Box<Filter>,
    lang: Lang,
    /// Frames from the table, in order, each with the place to go on from when it is sent.
    page: VecDeque<(Bytes, FeedPosition)>,
    /// When to try again what failed.
    retry: Option<Instant>,
}

impl Course for All {
    async fn turn(&mut self, now: Instant) -> Turn {
        match self.watch.head() {
            FeedHead::Unread | FeedHead::Away => return Turn::Wait,
            FeedHead::Over => return Turn::End,
            FeedHead::Here(_) => {}
        }
        if self.retry.is_some_and(|at| at > now) {
            return Turn::Wait;
        }
        self.retry = None;
        match self.forward().await {
            Ok(turn) => turn,
            Err(error) => {
                tracing::warn!(%error, "a viewer of all deployments cannot read events now");
                self.retry = Some(Instant::now() + RETRY);
                Turn::Wait
            }
        }
    }

    async fn changed(&mut self) {
        self.watch.changed().await;
    }

    fn timer(&self) -> Option<Instant> {
        self.retry
    }
}

impl All {
    /// A viewer that begins at `start`.
    pub fn new(watch: FeedWatch, start: Start, filter: Filter, lang: Lang) -> Self {
        Self { watch, start, filter: Box::new(filter), lang, page: VecDeque::new(), retry: None }
    }

    /// The next frame after our place.
    async fn forward(&mut self) -> Result<Turn, DbError> {
        loop {
            if let Some((frame, position)) = self.page.pop_front() {
                self.start = Start::After(position);
                return Ok(Turn::Send(frame));
            }
            let position = match &self.start {
                Start::After(position) => position,
                Start::Now => {
                    self.start = Start::After(self.watch.feed().tail().end());
                    continue;
                }
                Start::AfterId(id) => {
                    // Boxed, here and below: a future's size is reserved in every stream, and most never come here.
                    let position = Box::pin(self.watch.resume(*id)).await?;
                    self.start = position.map_or(Start::Now, Start::After);
                    continue;
                }
            };
            let after = self.watch.feed().tail().after(position, &self.filter, self.lang);
            match after {
                FeedAfter::Frame(frame, position) => {
                    self.start = Start::After(position);
                    return Ok(Turn::Send(frame));
                }
                FeedAfter::Nothing(position) => {
                    self.start = Start::After(position);
                    return Ok(Turn::Wait);
                }
                FeedAfter::Older(until) => {
                    let position = position.clone();
                    if !self.read_page(position, until).await? {
                        return Ok(Turn::End);
                    }
                }
                FeedAfter::Lost => return Ok(Turn::End),
            }
        }
    }

    /// Reads a page after `position`, at most up to `until`, from the table. It may have nothing for us: then our place is behind it. False when
    /// our last event is not the table's any more.
    async fn read_page(&mut self, position: FeedPosition, until: FeedPosition) -> Result<bool, DbError> {
        let end = until.place.transaction.saturating_add(1);
        let (rows, bytes) = if self.filter.is_open() { (PAGE, PAGE_BYTES) } else { FILTERED };
        let events = self.watch.db().feed(&position, end, rows, bytes);
        let FeedPage::Events(events) = Box::pin(events).await? else { return Ok(false) };
        let mut behind = match events.last() {
            Some(last) if last.place < until.place => last.position(),
            _ => until.clone(),
        };
        for event in events.iter().filter(|event| event.place <= until.place && self.filter.lets_through(event)) {
            self.page.push_back((frame::encode_of_all(event, self.lang), event.position()));
            if self.page.len() >= KEPT {
                behind = event.position();
                break;
            }
        }
        // What was let through is sent first; each frame carries its own place, and the last one all that was left out behind it.
        match self.page.back_mut() {
            Some((_, last)) => *last = behind,
            None => self.start = Start::After(behind),
        }
        Ok(true)
    }
}
