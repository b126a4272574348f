//! One watched deployment: what is known of it, and its newest events.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::reading::Reading;
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
    /// The process is to end: streams close, and their readers go on at another one.
    Closed,
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
            if tail.last() < state.last_seq {
                // Some were removed with time: what is left is in the table.
                tail.skip_to(state.last_seq);
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

    /// The process is to end.
    pub(super) fn close(&self) {
        self.tell(Head::Closed);
    }

    fn tell(&self, new: Head) {
        self.head.send_if_modified(|head| *head != Head::Closed && std::mem::replace(head, new) != new);
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
