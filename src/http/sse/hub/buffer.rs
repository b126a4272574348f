//! The newest events of a log, encoded once in each language for all subscribers.

use std::collections::VecDeque;
use std::fmt::Debug;

use bytes::Bytes;

use crate::domain::catalogue::Lang;

/// A sequence of events that can be buffered.
pub trait BufferedLog: Debug + Send + Sync + Sized + 'static {
    /// Position of an event, ordered as in the log.
    type Position: Clone + Debug + Default + Send;
    /// The part of an event that is buffered beside its frames.
    type Entry: Debug + Send;
    /// Most events in the buffer.
    const MAX_EVENTS: usize;
    /// Most buffered bytes of frames.
    const MAX_BYTES: usize;

    /// Returns the position of a buffered event. `index` counts the events after `before`, from 0.
    fn position(before: &Self::Position, index: usize, entry: &Self::Entry) -> Self::Position;
}

/// A buffered event with its frames.
#[derive(Debug)]
pub(super) struct Buffered<E> {
    pub(super) entry: E,
    ko: Bytes,
    en: Bytes,
}

impl<E> Buffered<E> {
    /// Returns the frame in a language. All subscribers share its bytes.
    pub(super) fn frame(&self, lang: Lang) -> Bytes {
        if lang == Lang::Ko { self.ko.clone() } else { self.en.clone() }
    }

    fn len(&self) -> usize {
        self.ko.len() + self.en.len()
    }
}

/// The events after `before`, without gaps.
#[derive(Debug)]
pub struct Buffer<L: BufferedLog> {
    pub(super) entries: VecDeque<Buffered<L::Entry>>,
    bytes: usize,
    pub(super) before: L::Position,
    revision: u64,
}

impl<L: BufferedLog> Default for Buffer<L> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, before: L::Position::default(), revision: 0 }
    }
}

impl<L: BufferedLog> Buffer<L> {
    /// Returns the position of the newest event.
    pub fn last(&self) -> L::Position {
        self.position_before(self.entries.len())
    }

    /// Drops all events and continues after `position`.
    pub fn skip_to(&mut self, position: L::Position) {
        *self = Self { before: position, revision: self.revision + 1, ..Self::default() };
    }

    /// Returns a number that differs after each change.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Appends an event, and drops the oldest ones beyond the limits. The caller must ensure that no event is missing before it.
    pub(super) fn append(&mut self, entry: L::Entry, ko: Bytes, en: Bytes) {
        let buffered = Buffered { entry, ko, en };
        self.bytes += buffered.len();
        self.revision += 1;
        self.entries.push_back(buffered);
        while self.entries.len() > L::MAX_EVENTS || self.bytes > L::MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.len();
            self.before = L::position(&self.before, 0, &oldest.entry);
        }
    }

    /// Returns the position of the event before the entry `index`.
    pub(super) fn position_before(&self, index: usize) -> L::Position {
        let previous = index.checked_sub(1).and_then(|at| Some((at, self.entries.get(at)?)));
        previous.map_or_else(|| self.before.clone(), |(at, buffered)| L::position(&self.before, at, &buffered.entry))
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The frame that follows a subscriber's position.
#[derive(Debug, PartialEq, Eq)]
pub enum NextFrame<P> {
    /// The next event's frame and position.
    Frame(Bytes, P),
    /// The next event is no longer buffered: read the table up to this position, inclusive.
    Older(P),
    /// There is no next event yet: resume from this position.
    Nothing(P),
    /// The subscriber's last event is not in this history: a failover lost it.
    Lost,
}
