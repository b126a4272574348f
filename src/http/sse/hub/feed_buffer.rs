//! The buffer of the feed.

use uuid::Uuid;

use super::buffer::{Buffer, NextFrame};
use super::feed_log::{FeedLog, LostEvents};
use crate::db::feed::{FeedEvent, FeedPosition};
use crate::domain::catalogue::Lang;
use crate::http::sse::filter::FeedFilter;
use crate::http::sse::frame;

impl Buffer<FeedLog> {
    pub(super) fn push(&mut self, mut event: FeedEvent) {
        let (ko, en) = (frame::encode_for_feed(&event, Lang::Ko), frame::encode_for_feed(&event, Lang::En));
        // The frames contain the parameters.
        event.event.params = serde_json::Map::new();
        self.append(event, ko, en);
    }

    /// Returns the next frame after `position` that matches `filter`.
    pub fn after(&self, position: &FeedPosition, filter: &FeedFilter, lang: Lang) -> NextFrame<FeedPosition> {
        if position.key < self.before.key {
            return NextFrame::Older(self.before.clone());
        }
        let next = self.entries.partition_point(|buffered| buffered.entry.key <= position.key);
        if self.position_before(next).is_another(position) {
            return NextFrame::Lost;
        }
        match self.entries.range(next..).find(|buffered| filter.matches(&buffered.entry)) {
            Some(buffered) => NextFrame::Frame(buffered.frame(lang), buffered.entry.position()),
            // Never move a subscriber backwards: one that resumes may be ahead of this replica.
            None if next == self.entries.len() && position.key > self.last().key => {
                NextFrame::Nothing(position.clone())
            }
            // The newest event, not the horizon (the oldest running transaction), because after a failover new events may precede the horizon.
            None => NextFrame::Nothing(self.last()),
        }
    }

    /// Maps each buffered event that is not among `survivors` to the last survivor before it.
    pub(super) fn lost(&self, survivors: &[Uuid]) -> LostEvents {
        let (mut survivor, mut lost) = (None, LostEvents::new());
        for position in self.sent() {
            let Some(id) = position.id else { continue };
            if survivors.contains(&id) {
                survivor = Some(position);
            } else if let Some(survivor) = &survivor {
                lost.insert(id, FeedPosition::clone(survivor));
            }
        }
        lost
    }

    /// Returns the positions of all buffered events, and of the one before them.
    pub(super) fn sent(&self) -> Vec<FeedPosition> {
        let buffered = self.entries.iter().map(|buffered| buffered.entry.position());
        std::iter::once(self.before.clone()).chain(buffered).collect()
    }
}
