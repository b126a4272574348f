//! The buffer of a watched deployment.

use super::buffer::{Buffer, Buffered, NextFrame};
use super::deployment_log::DeploymentLog;
use crate::db::events::EventPosition;
use crate::domain::catalogue::Lang;
use crate::domain::event::StoredEvent;
use crate::http::sse::frame;

impl Buffer<DeploymentLog> {
    /// Appends the next event. Any other event is ignored, since a gap would never be filled.
    pub fn push(&mut self, event: &StoredEvent) {
        if event.seq == self.last().seq + 1 {
            self.append(event.id, frame::encode(event, Lang::Ko), frame::encode(event, Lang::En));
        }
    }

    fn buffered(&self, seq: i64) -> Option<&Buffered<uuid::Uuid>> {
        self.entries.get(usize::try_from(seq - self.before.seq - 1).ok()?)
    }

    /// Returns true when the buffered event with this sequence number has another id. For an event that is not buffered only reading the table finds
    /// that out.
    pub fn is_lost(&self, position: EventPosition) -> bool {
        let id = self.buffered(position.seq).map(|buffered| buffered.entry);
        let buffered = id.map_or(self.before, |id| EventPosition { seq: position.seq, id: Some(id) });
        buffered.is_another(position)
    }

    /// Returns the frame after `position`.
    pub fn after(&self, position: EventPosition, lang: Lang) -> NextFrame<EventPosition> {
        if self.is_lost(position) {
            return NextFrame::Lost;
        }
        let seq = position.seq + 1;
        if seq > self.last().seq {
            return NextFrame::Nothing(position);
        }
        let Some(next) = self.buffered(seq) else { return NextFrame::Older(self.before) };
        if position.seq == self.before.seq && position.id.is_some() && self.before.id.is_none() {
            // The id of the event at `before` is unknown here, so only the table can tell whether the subscriber has that event.
            return NextFrame::Older(EventPosition { seq, id: None });
        }
        NextFrame::Frame(next.frame(lang), EventPosition { seq, id: Some(next.entry) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::sse::hub::buffer::BufferedLog as _;
    use serde_json::{Map, Value};
    use uuid::Uuid;

    /// Position after the event `seq` of [`event`].
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
    fn all_subscribers_share_the_same_bytes() {
        let mut buffer = Buffer::<DeploymentLog>::default();
        buffer.push(&event(1, "a"));
        let (NextFrame::Frame(one, _), NextFrame::Frame(two, _)) =
            (buffer.after(at(0), Lang::Ko), buffer.after(at(0), Lang::Ko))
        else {
            panic!("there is a first event");
        };
        assert_eq!(one.as_ptr(), two.as_ptr());
        assert_eq!(buffer.after(at(1), Lang::En), NextFrame::Nothing(at(1)));
    }

    #[test]
    fn events_beyond_the_limits_are_read_from_the_table() {
        let mut buffer = Buffer::<DeploymentLog>::default();
        for seq in 1..=300 {
            buffer.push(&event(seq, "x"));
        }
        assert_eq!(buffer.after(at(0), Lang::Ko), NextFrame::Older(at(44)));
        assert_eq!(buffer.after(at(43), Lang::Ko), NextFrame::Older(at(44)));
        assert!(matches!(buffer.after(at(44), Lang::Ko), NextFrame::Frame(..)));
        let long = "y".repeat(100_000);
        for seq in 301..=303 {
            buffer.push(&event(seq, &long));
        }
        assert_eq!(buffer.after(at(300), Lang::Ko), NextFrame::Older(at(302)));
        assert!(buffer.bytes() <= DeploymentLog::MAX_BYTES);
    }

    #[test]
    fn push_ignores_event_after_a_gap() {
        let mut buffer = Buffer::<DeploymentLog>::default();
        buffer.push(&event(1, "a"));
        buffer.push(&event(3, "c"));
        assert_eq!((buffer.last(), buffer.after(at(1), Lang::Ko)), (at(1), NextFrame::Nothing(at(1))));
        buffer.skip_to(at(10));
        buffer.push(&event(11, "k"));
        assert_eq!(buffer.after(at(5), Lang::Ko), NextFrame::Older(at(10)));
        assert_eq!(
            buffer.after(at(20), Lang::Ko),
            NextFrame::Nothing(at(20)),
            "a subscriber ahead of the buffer waits"
        );
    }

    #[test]
    fn event_with_same_number_and_other_id_is_lost() {
        let mut buffer = Buffer::<DeploymentLog>::default();
        for seq in 1..=3 {
            buffer.push(&event(seq, "x"));
        }
        let another = |seq| EventPosition { seq, id: Some(Uuid::from_u128(99)) };
        for seq in 1..=3 {
            assert_eq!(buffer.after(another(seq), Lang::Ko), NextFrame::Lost, "{seq}");
            assert!(!buffer.is_lost(at(seq)) && !buffer.is_lost(EventPosition { seq, id: None }), "{seq}");
        }
        assert_eq!(
            buffer.after(another(4), Lang::Ko),
            NextFrame::Nothing(another(4)),
            "a subscriber ahead of the buffer waits"
        );
        buffer.skip_to(at(10));
        assert!(buffer.is_lost(another(10)) && !buffer.is_lost(another(9)));
        buffer.skip_to(EventPosition { seq: 20, id: None });
        buffer.push(&event(21, "x"));
        assert_eq!(
            buffer.after(at(20), Lang::Ko),
            NextFrame::Older(EventPosition { seq: 21, id: None }),
            "only the table can tell"
        );
    }
}
