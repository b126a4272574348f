//! One watched deployment: what is known of it, and its newest events.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::reading::Reading;
use super::tail::{MAX_EVENTS, Tail};
use crate::db::events::{EventPosition, EventsAfter, StreamState};
use crate::db::{Db, DbError};

/// What is known of a deployment. Whoever sees `last_seq` here finds every event up to it in the tail or in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Not read yet.
    Unread,
    /// Not read yet, because the database is away.
    Away,
    /// There is no such deployment.
    Missing,
    /// The process is to end: streams close, and their readers go on at another one.
    Closed,
    /// The table has another history than the one that was read: a failover lost events, or a backup was restored. Streams end, and their readers say what they have when
    /// they come back.
    Over,
    /// It is there.
    Here {
        /// Sequence number of its newest event; 0 before the first.
        last_seq: i64,
        /// Whether more can come without a person's act.
        active: bool,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Channel {
    id: String,
    pub(super) head: watch::Sender<Head>,
    tail: Mutex<Tail>,
    pub(super) reading: Reading,
}

impl Channel {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            head: watch::Sender::new(Head::Unread),
            tail: Mutex::default(),
            reading: Reading::default(),
        }
    }

    /// Its newest events.
    pub fn tail(&self) -> MutexGuard<'_, Tail> {
        // A tail is consistent after each of its methods, so a panic elsewhere under the lock does no harm.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches what is new and tells the viewers. Only one at a time.
    pub(super) async fn read(&self, db: &Db) {
        match self.fetch(db).await {
            Ok(Head::Over) => {
                tracing::warn!(deployment = %self.id, "events that were sent are not in the database any more; ending the deployment's streams");
                self.tell(Head::Over);
                *self.tail() = Tail::default();
            }
            Ok(head) => self.tell(head),
            Err(error) => {
                // The sweep asks again in a second: nothing is lost but time.
                tracing::warn!(deployment = %self.id, %error, "events cannot be read now");
                self.tell_away();
            }
        }
    }

    async fn fetch(&self, db: &Db) -> Result<Head, DbError> {
        let Some(state) = db.stream_state(&self.id).await? else { return Ok(Head::Missing) };
        let newest = state.newest();
        let most = i64::try_from(MAX_EVENTS).unwrap_or(i64::MAX);
        let after = {
            let mut tail = self.tail();
            let last = tail.last();
            if newest.seq < last.seq || newest.is_another(last) {
                return Ok(Head::Over);
            }
            if last.seq < newest.seq - most {
                // Viewers read the table from where they are, and find out there whether that is still the same event.
                tail.skip_to(EventPosition { seq: newest.seq - most, id: None });
            }
            tail.last()
        };
        if after.seq < newest.seq {
            // No further than the row that was read: its `active` belongs to that place.
            let events = db.events_page(&self.id, after, newest.seq - after.seq, i64::MAX).await?;
            let EventsAfter::Events(events) = events else { return Ok(Head::Over) };
            let mut tail = self.tail();
            for event in &events {
                tail.push(event);
            }
            if tail.last().seq < newest.seq {
                // Some were removed with time: what is left is in the table.
                tail.skip_to(newest);
            }
        }
        Ok(Head::Here { last_seq: self.tail().last().seq, active: state.active })
    }

    /// What the sweep saw: whether it differs from what the viewers know.
    pub(super) fn is_behind(&self, seen: StreamState) -> bool {
        *self.head.borrow() != Head::Here { last_seq: seen.last_seq, active: seen.active }
            || self.tail().last().is_another(seen.newest())
    }

    /// Whether nothing is sent from here any more.
    pub(super) fn is_over(&self) -> bool {
        *self.head.borrow() == Head::Over
    }

    /// The deployment is gone.
    pub(super) fn tell_missing(&self) {
        self.tell(Head::Missing);
    }

    /// The database is away: news only to those who know nothing yet.
    pub(super) fn tell_away(&self) {
        self.head.send_if_modified(|head| {
            let news = *head == Head::Unread;
            if news {
                *head = Head::Away;
            }
            news
        });
    }

    /// The process is to end.
    pub(super) fn close(&self) {
        self.tell(Head::Closed);
    }

    fn tell(&self, new: Head) {
        self.head.send_if_modified(|head| {
            !matches!(*head, Head::Closed | Head::Over) && std::mem::replace(head, new) != new
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_goes_away_later_is_no_news() {
        let channel = Channel::new("dep_1");
        let here = Head::Here { last_seq: 3, active: true };
        channel.tell(here);
        channel.tell_away();
        assert_eq!(*channel.head.borrow(), here);
    }
}
