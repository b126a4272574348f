//! A viewer's course through the events of all deployments: what the filter lets through, in the order of the table.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

use super::ask::FeedId;
use super::filter::Filter;
use super::frame;
use super::viewer::{Course, PAGE, PAGE_BYTES, RETRY, Turn};
use crate::db::DbError;
use crate::db::feed::Place;
use crate::domain::catalogue::Lang;
use crate::http::hub::feed::{FeedAfter, FeedHead, FeedWatch};

/// Where a viewer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    Now,
    /// After this place.
    After(Place),
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
    page: VecDeque<(Bytes, Place)>,
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
            if let Some((frame, place)) = self.page.pop_front() {
                self.start = Start::After(place);
                return Ok(Turn::Send(frame));
            }
            let place = match &self.start {
                Start::After(place) => place,
                Start::Now => {
                    self.start = Start::After(self.watch.feed().tail().end());
                    continue;
                }
                Start::AfterId(id) => {
                    // Boxed, here and below: a future's size is reserved in every stream, and most never come here.
                    let place = Box::pin(self.watch.db().feed_place(id.transaction, id.id)).await?;
                    self.start = place.map_or(Start::Now, Start::After);
                    continue;
                }
            };
            let after = self.watch.feed().tail().after(place, &self.filter, self.lang);
            match after {
                FeedAfter::Frame(frame, place) => {
                    self.start = Start::After(place);
                    return Ok(Turn::Send(frame));
                }
                FeedAfter::Nothing(place) => {
                    self.start = Start::After(place);
                    return Ok(Turn::Wait);
                }
                FeedAfter::Older(until) => {
                    let place = place.clone();
                    self.read_page(place, &until).await?;
                }
            }
        }
    }

    /// Reads a page after `place`, at most up to `until`, from the table. It may have nothing for us: then our place is behind it.
    async fn read_page(&mut self, place: Place, until: &Place) -> Result<(), DbError> {
        let events = self.watch.db().feed(&place, until.transaction.saturating_add(1), PAGE, PAGE_BYTES);
        let events = Box::pin(events).await?;
        let mut behind = until.clone();
        if let Some(last) = events.last().filter(|last| last.place < *until) {
            behind = last.place.clone();
        }
        for event in events.iter().filter(|event| event.place <= *until && self.filter.lets_through(event)) {
            self.page.push_back((frame::encode_of_all(event, self.lang), event.place.clone()));
        }
        // What was let through is sent first; each frame carries its own place, and the last one all that was left out behind it.
        match self.page.back_mut() {
            Some((_, last)) => *last = behind,
            None => self.start = Start::After(behind),
        }
        Ok(())
    }
}
