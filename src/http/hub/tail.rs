//! The newest events of a watched deployment, rendered once in each language, for all its viewers.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::domain::catalogue::Lang;
use crate::domain::event::StoredEvent;
use crate::http::stream::frame;

/// Most events that are kept: a usual deployment has fewer, so that its viewers never go to the table.
pub const MAX_EVENTS: usize = 256;

/// Most bytes that are kept for one deployment. Long build lines reach this before the number.
pub const MAX_BYTES: usize = 256 * 1024;

/// One event's frames.
#[derive(Debug)]
struct Frames {
    ko: Bytes,
    en: Bytes,
}

impl Frames {
    fn len(&self) -> usize {
        self.ko.len() + self.en.len()
    }
}

/// What follows a viewer's place.
#[derive(Debug, PartialEq, Eq)]
pub enum After {
    /// The next event's frame.
    Frame(Bytes),
    /// The next event is not kept any more: read the table up to and with this place.
    Older {
        /// The newest event that is not kept.
        until: i64,
    },
    /// Nothing yet.
    Nothing,
}

/// Events `last - frames.len() + 1 ..= last`, without gaps.
#[derive(Debug, Default)]
pub struct Tail {
    frames: VecDeque<Frames>,
    bytes: usize,
    last: i64,
}

impl Tail {
    /// Sequence number of the newest event that was put in.
    pub fn last(&self) -> i64 {
        self.last
    }

    /// Forgets all, and goes on after `last`: there is too much between to be kept.
    pub fn skip_to(&mut self, last: i64) {
        *self = Self { last, ..Self::default() };
    }

    /// Appends the next event; anything but the next is ignored, since a gap would be for good.
    pub fn push(&mut self, event: &StoredEvent) {
        if event.seq != self.last + 1 {
            return;
        }
        let frames = Frames { ko: frame::encode(event, Lang::Ko), en: frame::encode(event, Lang::En) };
        self.last = event.seq;
        self.bytes += frames.len();
        self.frames.push_back(frames);
        while self.frames.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    /// What comes after the event `seq`.
    pub fn after(&self, seq: i64, lang: Lang) -> After {
        let behind = usize::try_from(self.last - seq).unwrap_or(0);
        if behind == 0 {
            return After::Nothing;
        }
        let frames = self.frames.len().checked_sub(behind).and_then(|at| self.frames.get(at));
        match (frames, lang) {
            (Some(frames), Lang::Ko) => After::Frame(frames.ko.clone()),
            (Some(frames), Lang::En) => After::Frame(frames.en.clone()),
            (None, _) => After::Older { until: self.last - i64::try_from(self.frames.len()).unwrap_or(0) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value};
    use uuid::Uuid;

    fn event(seq: i64, message: &str) -> StoredEvent {
        let mut params = Map::new();
        params.insert("message".into(), Value::from(message));
        StoredEvent {
            seq,
            id: Uuid::from_u128(u128::try_from(seq).unwrap()),
            attempt: 1,
            code: "build_progress".into(),
            params,
            created_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn every_viewer_is_given_the_same_bytes() {
        let mut tail = Tail::default();
        tail.push(&event(1, "a"));
        let (After::Frame(one), After::Frame(two)) = (tail.after(0, Lang::Ko), tail.after(0, Lang::Ko)) else {
            panic!("there is a first event");
        };
        assert_eq!(one.as_ptr(), two.as_ptr());
        assert_eq!(tail.after(1, Lang::En), After::Nothing);
    }

    #[test]
    fn events_beyond_the_bounds_are_left_to_the_table() {
        let mut tail = Tail::default();
        for seq in 1..=300 {
            tail.push(&event(seq, "x"));
        }
        assert_eq!(tail.after(0, Lang::Ko), After::Older { until: 44 });
        assert_eq!(tail.after(43, Lang::Ko), After::Older { until: 44 });
        assert!(matches!(tail.after(44, Lang::Ko), After::Frame(_)));
        let long = "y".repeat(100_000);
        for seq in 301..=303 {
            tail.push(&event(seq, &long));
        }
        assert_eq!(tail.after(300, Lang::Ko), After::Older { until: 302 });
        assert!(tail.bytes <= MAX_BYTES);
    }

    #[test]
    fn a_gap_is_never_filled_with_something_else() {
        let mut tail = Tail::default();
        tail.push(&event(1, "a"));
        tail.push(&event(3, "c"));
        assert_eq!((tail.last(), tail.after(1, Lang::Ko)), (1, After::Nothing));
        tail.skip_to(10);
        tail.push(&event(11, "k"));
        assert_eq!(tail.after(5, Lang::Ko), After::Older { until: 10 });
        assert_eq!(tail.after(20, Lang::Ko), After::Nothing, "a viewer ahead of us waits");
    }
}
