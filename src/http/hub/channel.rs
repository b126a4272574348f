//! One watched deployment: what is known of it, and its newest events.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::tail::{MAX_EVENTS, Tail};
use crate::db::events::StreamState;
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
    /// It is there.
    Here {
        /// Sequence number of its newest event; 0 before the first.
        last_seq: i64,
        /// Whether more can come without a person's act.
        active: bool,
    },
}

/// Whether a reading is under way, and whether another must follow it.
const IDLE: u8 = 0;
const READING: u8 = 1;
const READING_AGAIN: u8 = 2;

/// See the module.
#[derive(Debug)]
pub struct Channel {
    id: String,
    pub(super) head: watch::Sender<Head>,
    tail: Mutex<Tail>,
    reading: AtomicU8,
}

impl Channel {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            head: watch::Sender::new(Head::Unread),
            tail: Mutex::default(),
            reading: AtomicU8::new(IDLE),
        }
    }

    /// Its newest events.
    pub fn tail(&self) -> MutexGuard<'_, Tail> {
        // A tail is consistent after each of its methods, so a panic elsewhere under the lock does no harm.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a reading. True: the caller must do it, and go on while [`Self::end_reading`] says so. False: it is being done,
    /// and will be done once more for us, since that one may have looked before our reason to ask.
    pub(super) fn begin_reading(&self) -> bool {
        let begin = |state| Some(if state == IDLE { READING } else { READING_AGAIN });
        self.reading.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin) == Ok(IDLE)
    }

    /// Whether nobody asked meanwhile; if somebody did, the caller must read again.
    pub(super) fn end_reading(&self) -> bool {
        let end = |state| Some(if state == READING_AGAIN { READING } else { IDLE });
        self.reading.fetch_update(Ordering::AcqRel, Ordering::Acquire, end) == Ok(READING)
    }

    /// Fetches what is new and tells the viewers. Only one at a time.
    pub(super) async fn read(&self, db: &Db) {
        match self.fetch(db).await {
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
        let most = i64::try_from(MAX_EVENTS).unwrap_or(i64::MAX);
        let after = {
            let mut tail = self.tail();
            if tail.last() < state.last_seq - most {
                tail.skip_to(state.last_seq - most);
            }
            tail.last()
        };
        if after < state.last_seq {
            // No further than the row that was read: its `active` belongs to that place.
            let events = db.events_after(&self.id, after, state.last_seq - after).await?;
            let mut tail = self.tail();
            for event in &events {
                tail.push(event);
            }
        }
        Ok(Head::Here { last_seq: self.tail().last(), active: state.active })
    }

    /// What the sweep saw: whether it differs from what the viewers know.
    pub(super) fn is_behind(&self, seen: StreamState) -> bool {
        *self.head.borrow() != Head::Here { last_seq: seen.last_seq, active: seen.active }
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

    fn tell(&self, new: Head) {
        self.head.send_if_modified(|head| std::mem::replace(head, new) != new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_during_a_reading_gets_another_one() {
        let channel = Channel::new("dep_1");
        assert!(channel.begin_reading());
        assert!(!channel.begin_reading());
        assert!(!channel.begin_reading());
        assert!(!channel.end_reading(), "two asked meanwhile: one more reading for both");
        assert!(channel.end_reading());
        assert!(channel.begin_reading());
    }

    #[test]
    fn a_database_that_goes_away_later_is_no_news() {
        let channel = Channel::new("dep_1");
        let here = Head::Here { last_seq: 3, active: true };
        channel.tell(here);
        channel.tell_away();
        assert_eq!(*channel.head.borrow(), here);
    }
}
