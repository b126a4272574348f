//! The newest events of a watched deployment, rendered once in each language, for all its viewers.

use std::collections::VecDeque;

use bytes::Bytes;
use uuid::Uuid;

use crate::db::events::EventPosition;
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
    id: Uuid,
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
    /// The next event's frame, and its place.
    Frame(Bytes, EventPosition),
    /// The next event is not kept any more: read the table up to and with this place.
    Older {
        /// The newest event that is not kept.
        until: i64,
    },
    /// Nothing yet.
    Nothing,
    /// The viewer's last event is not in this history: a failover lost it.
    Lost,
}

/// The events after `before`, without gaps.
#[derive(Debug, Default)]
pub struct Tail {
    frames: VecDeque<Frames>,
    bytes: usize,
    before: EventPosition,
}

impl Tail {
    /// The newest event that was put in.
    pub fn last(&self) -> EventPosition {
        let seq = self.before.seq + i64::try_from(self.frames.len()).unwrap_or(0);
        self.frames.back().map_or(self.before, |newest| EventPosition { seq, id: Some(newest.id) })
    }

    /// Forgets all, and goes on after `last`: there is too much between to be kept.
    pub fn skip_to(&mut self, last: EventPosition) {
        *self = Self { before: last, ..Self::default() };
    }

    /// Appends the next event; anything but the next is ignored, since a gap would be for good.
    pub fn push(&mut self, event: &StoredEvent) {
        if event.seq != self.last().seq + 1 {
            return;
        }
        let frames = Frames { id: event.id, ko: frame::encode(event, Lang::Ko), en: frame::encode(event, Lang::En) };
        self.bytes += frames.len();
        self.frames.push_back(frames);
        while self.frames.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.len();
            self.before = EventPosition { seq: self.before.seq + 1, id: Some(oldest.id) };
        }
    }

    fn kept(&self, seq: i64) -> Option<&Frames> {
        self.frames.get(usize::try_from(seq - self.before.seq - 1).ok()?)
    }

    /// Whether the event of this number is another one here. Not known of one that is not kept: reading the table finds that out.
    pub fn is_lost(&self, position: EventPosition) -> bool {
        let id = self.kept(position.seq).map(|frames| frames.id);
        let kept = id.map_or(self.before, |id| EventPosition { seq: position.seq, id: Some(id) });
        kept.is_another(position)
    }

    /// What comes after an event.
    pub fn after(&self, position: EventPosition, lang: Lang) -> After {
        if self.is_lost(position) {
            return After::Lost;
        }
        let seq = position.seq + 1;
        if seq > self.last().seq {
            return After::Nothing;
        }
        let Some(frames) = self.kept(seq) else { return After::Older { until: self.before.seq } };
        if position.seq == self.before.seq && position.id.is_some() && self.before.id.is_none() {
            // Only the table says whether it is the viewer's.
            return After::Older { until: seq };
        }
        let frame = if lang == Lang::Ko { &frames.ko } else { &frames.en };
        After::Frame(frame.clone(), EventPosition { seq, id: Some(frames.id) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value};
    use uuid::Uuid;

    /// After the event `seq` of [`event`].
    fn at(seq: i64) -> EventPosition {
        EventPosition { seq, id: (seq > 0).then(|| event(seq, "").id) }
    }

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
        let (After::Frame(one, _), After::Frame(two, _)) = (tail.after(at(0), Lang::Ko), tail.after(at(0), Lang::Ko))
        else {
            panic!("there is a first event");
        };
        assert_eq!(one.as_ptr(), two.as_ptr());
        assert_eq!(tail.after(at(1), Lang::En), After::Nothing);
    }

    #[test]
    fn events_beyond_the_bounds_are_left_to_the_table() {
        let mut tail = Tail::default();
        for seq in 1..=300 {
            tail.push(&event(seq, "x"));
        }
        assert_eq!(tail.after(at(0), Lang::Ko), After::Older { until: 44 });
        assert_eq!(tail.after(at(43), Lang::Ko), After::Older { until: 44 });
        assert!(matches!(tail.after(at(44), Lang::Ko), After::Frame(..)));
        let long = "y".repeat(100_000);
        for seq in 301..=303 {
            tail.push(&event(seq, &long));
        }
        assert_eq!(tail.after(at(300), Lang::Ko), After::Older { until: 302 });
        assert!(tail.bytes <= MAX_BYTES);
    }

    #[test]
    fn a_gap_is_never_filled_with_something_else() {
        let mut tail = Tail::default();
        tail.push(&event(1, "a"));
        tail.push(&event(3, "c"));
        assert_eq!((tail.last(), tail.after(at(1), Lang::Ko)), (at(1), After::Nothing));
        tail.skip_to(at(10));
        tail.push(&event(11, "k"));
        assert_eq!(tail.after(at(5), Lang::Ko), After::Older { until: 10 });
        assert_eq!(tail.after(at(20), Lang::Ko), After::Nothing, "a viewer ahead of us waits");
    }

    #[test]
    fn an_event_of_the_same_number_is_not_the_same_event() {
        let mut tail = Tail::default();
        for seq in 1..=3 {
            tail.push(&event(seq, "x"));
        }
        let another = |seq| EventPosition { seq, id: Some(Uuid::from_u128(99)) };
        for seq in 1..=3 {
            assert_eq!(tail.after(another(seq), Lang::Ko), After::Lost, "{seq}");
            assert!(!tail.is_lost(at(seq)) && !tail.is_lost(EventPosition { seq, id: None }), "{seq}");
        }
        assert_eq!(tail.after(another(4), Lang::Ko), After::Nothing, "a viewer ahead of us waits until we know");
        tail.skip_to(at(10));
        assert!(tail.is_lost(another(10)) && !tail.is_lost(another(9)));
        tail.skip_to(EventPosition { seq: 20, id: None });
        tail.push(&event(21, "x"));
        assert_eq!(tail.after(at(20), Lang::Ko), After::Older { until: 21 }, "only the table knows");
    }
}
