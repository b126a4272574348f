//! The newest events, read once for all receivers of this replica and rendered once in each language. Receivers that are further behind read separate
//! pages.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::feed::{FeedEvent, FeedKey, FeedPage, FeedPosition};
use crate::db::{Db, DbError};
use crate::domain::catalogue::{EventType, Lang};
use crate::domain::receiver::channel::quiet::QuietHours;
use crate::domain::receiver::filter::{EventFilter, FilteredEvent};
use crate::domain::webhook::payload::{PayloadSource, body};

/// Limits of one page from the table: events, and bytes of their parameters.
const PAGE: (i64, i64) = (256, 512 * 1024);

/// Pages that one pass reads, so that it ends while events arrive as fast as they are read.
const MAX_PAGES: usize = 4;

/// Most events that are kept.
const MAX_EVENTS: usize = 1_024;

/// An event with its bodies.
#[derive(Debug)]
pub(super) struct OutboxEvent {
    source: FeedEvent,
    /// In the order of [`Lang::ALL`], rendered when the first receiver of the language reads it.
    bodies: [OnceLock<(EventType, Bytes)>; Lang::ALL.len()],
}

impl OutboxEvent {
    pub(super) fn new(source: FeedEvent) -> Self {
        Self { source, bodies: Default::default() }
    }

    pub(super) fn key(&self) -> &FeedKey {
        &self.source.key
    }

    pub(super) fn id(&self) -> Uuid {
        self.source.event.id
    }

    pub(super) fn deployment(&self) -> &str {
        &self.source.key.deployment_id
    }

    pub(super) fn code(&self) -> &str {
        &self.source.event.code
    }

    pub(super) fn created_at(&self) -> DateTime<Utc> {
        self.source.event.created_at
    }

    pub(super) fn body(&self, lang: Lang) -> Bytes {
        self.rendered(lang).1.clone()
    }

    pub(super) fn is_excepted(&self, quiet: &QuietHours, lang: Lang) -> bool {
        quiet.excepts(self.rendered(lang).0, self.code())
    }

    pub(super) fn matches(&self, filter: &EventFilter, lang: Lang) -> bool {
        let source = &self.source;
        filter.matches(FilteredEvent {
            event_type: self.rendered(lang).0,
            code: &source.event.code,
            owner: &source.owner,
            repo: &source.repo,
            labels: &source.labels,
        })
    }

    fn rendered(&self, lang: Lang) -> &(EventType, Bytes) {
        let at = Lang::ALL.iter().position(|one| *one == lang).unwrap_or_default();
        self.bodies[at].get_or_init(|| {
            let source = &self.source;
            let event = PayloadSource {
                event: &source.event,
                deployment_id: &source.key.deployment_id,
                status: source.status.as_str(),
                owner: &source.owner,
                repo: &source.repo,
                branch: &source.branch,
            };
            body(event, lang)
        })
    }
}

/// Result of a read of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogRead {
    Nothing,
    Found,
    /// A failover lost the newest events that were read, and with them the cursors' last commits.
    Lost,
}

/// The newest events in order, without gaps.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    /// Key before the first event.
    before: FeedKey,
    /// Position up to which the table was read; none before the first read.
    end: Option<FeedPosition>,
    events: VecDeque<Arc<OutboxEvent>>,
}

impl EventLog {
    /// Reads new events up to the horizon, a few pages at most.
    pub(super) async fn read(&mut self, db: &Db) -> Result<LogRead, DbError> {
        let mut end = if let Some(end) = self.end.take() {
            end
        } else {
            // Events of a restored database must not stay before the cursors.
            db.repair_event_order().await?;
            let end = db.feed_end().await?;
            self.before = end.key.clone();
            self.events.clear();
            end
        };
        let mut read = LogRead::Nothing;
        for _ in 0..MAX_PAGES {
            let page = db.feed(&end, i64::MAX, PAGE.0, PAGE.1).await;
            let events = match page {
                Ok(FeedPage::Events(events)) => events,
                Ok(FeedPage::Lost) => {
                    *self = Self::default();
                    return Ok(LogRead::Lost);
                }
                Err(error) => {
                    self.end = Some(end);
                    return Err(error);
                }
            };
            let Some(last) = events.last() else { break };
            end = last.position();
            self.events.extend(events.into_iter().map(|event| Arc::new(OutboxEvent::new(event))));
            read = LogRead::Found;
        }
        self.end = Some(end);
        while self.events.len() > MAX_EVENTS {
            self.before = self.events.pop_front().map_or_else(FeedKey::default, |first| first.key().clone());
        }
        Ok(read)
    }

    /// Returns at most `limit` events after `position`; none when the log does not reach back to it.
    pub(super) fn after(&self, position: &FeedKey, limit: usize) -> Option<Vec<Arc<OutboxEvent>>> {
        if self.end.is_none() || *position < self.before {
            return None;
        }
        let first = self.events.partition_point(|event| event.key() <= position);
        Some(self.events.range(first..).take(limit).cloned().collect())
    }

    /// Returns the key before the first event: a receiver that finds nothing in the table before it continues there.
    pub(super) fn before(&self) -> &FeedKey {
        &self.before
    }
}

/// Reads events that the log no longer has.
pub(super) async fn page(db: &Db, after: &FeedKey, limit: i64) -> Result<Vec<Arc<OutboxEvent>>, DbError> {
    // Without an id: the cursors are in the same database as the events, and a failover loses both.
    let position = FeedPosition { key: after.clone(), id: None };
    match db.feed(&position, i64::MAX, limit, PAGE.1).await? {
        FeedPage::Events(events) => Ok(events.into_iter().map(|event| Arc::new(OutboxEvent::new(event))).collect()),
        FeedPage::Lost => Ok(Vec::new()),
    }
}
