//! Reads the events of a watched deployment.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::broadcast::{Broadcast, ChannelState, EventLog};
use super::buffer::{Buffer, BufferedLog};
use crate::db::events::{EventPosition, EventsAfter, StreamState};
use crate::db::{Db, DbError};
use crate::metrics::Metrics;

/// The events of one deployment, ordered by sequence number.
#[derive(Debug)]
pub struct DeploymentLog {
    deployment_id: String,
}

/// Progress of a deployment's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeploymentProgress {
    /// Sequence number of the newest event; 0 before the first.
    pub last_seq: i64,
    /// More events can follow without a manual action.
    pub active: bool,
}

pub type DeploymentChannel = Broadcast<DeploymentLog>;
pub type DeploymentState = ChannelState<DeploymentProgress>;

impl BufferedLog for DeploymentLog {
    type Position = EventPosition;
    /// Id of the event. Its sequence number follows from its index, since there are no gaps.
    type Entry = Uuid;
    /// A typical deployment has fewer events, so its subscribers never read the table.
    const MAX_EVENTS: usize = 256;
    /// Long build lines reach this limit before the number of events.
    const MAX_BYTES: usize = 256 * 1024;

    fn position(before: &EventPosition, index: usize, id: &Uuid) -> EventPosition {
        EventPosition { seq: before.seq + 1 + i64::try_from(index).unwrap_or(0), id: Some(*id) }
    }
}

impl EventLog for DeploymentLog {
    type Progress = DeploymentProgress;

    async fn read(channel: &Broadcast<Self>, db: &Db, metrics: &Metrics) -> Option<Duration> {
        let started = Instant::now();
        match channel.fetch(db).await {
            Ok(ChannelState::Diverged) => {
                let deployment = &channel.log.deployment_id;
                tracing::warn!(%deployment, "events already sent are missing from the database, ending the deployment's streams");
                channel.publish(ChannelState::Diverged);
                *channel.buffer() = Buffer::default();
            }
            Ok(state) => channel.publish(state),
            Err(error) => {
                // The sweep reads again within a second, so the error only delays events.
                let deployment = &channel.log.deployment_id;
                tracing::warn!(%deployment, %error, "events of a deployment cannot be read, retrying");
                channel.publish(ChannelState::Unavailable);
            }
        }
        metrics.streams.record_read(started.elapsed());
        None
    }
}

impl Broadcast<DeploymentLog> {
    pub(super) fn of(deployment_id: &str) -> Self {
        Self::new(DeploymentLog { deployment_id: deployment_id.to_owned() })
    }

    async fn fetch(&self, db: &Db) -> Result<DeploymentState, DbError> {
        let deployment_id = &self.log.deployment_id;
        let Some(state) = db.stream_state(deployment_id).await? else { return Ok(ChannelState::Missing) };
        let newest = state.newest();
        let most = i64::try_from(DeploymentLog::MAX_EVENTS).unwrap_or(i64::MAX);
        let after = {
            let mut buffer = self.buffer();
            let last = buffer.last();
            if newest.seq < last.seq || newest.is_another(last) {
                return Ok(ChannelState::Diverged);
            }
            if last.seq < newest.seq - most {
                // Subscribers behind the buffer read the table from their position, and detect there whether their event still exists.
                buffer.skip_to(EventPosition { seq: newest.seq - most, id: None });
            }
            buffer.last()
        };
        if after.seq < newest.seq {
            // Not beyond the row that was read: its `active` belongs to that position.
            let events = db.events_page(deployment_id, after, newest.seq - after.seq, i64::MAX).await?;
            let EventsAfter::Events(events) = events else { return Ok(ChannelState::Diverged) };
            let mut buffer = self.buffer();
            for event in &events {
                buffer.push(event);
            }
            if buffer.last().seq < newest.seq {
                // Retention removed some events; the others are in the table.
                buffer.skip_to(newest);
            }
        }
        Ok(ChannelState::Live(DeploymentProgress { last_seq: self.buffer().last().seq, active: state.active }))
    }

    /// Compares the row seen by the sweep with the published state. Returns true when the channel must read.
    pub(super) fn is_behind(&self, seen: StreamState) -> bool {
        self.state() != ChannelState::Live(DeploymentProgress { last_seq: seen.last_seq, active: seen.active })
            || self.buffer().last().is_another(seen.newest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_state_when_database_becomes_unavailable() {
        let channel = DeploymentChannel::of("dep_1");
        let live = ChannelState::Live(DeploymentProgress { last_seq: 3, active: true });
        channel.publish(live);
        channel.publish(ChannelState::Unavailable);
        assert_eq!(channel.state(), live);
    }

    #[test]
    fn closed_channel_stays_closed() {
        let channel = DeploymentChannel::of("dep_1");
        channel.close();
        channel.publish(ChannelState::Live(DeploymentProgress { last_seq: 3, active: true }));
        assert_eq!(channel.state(), ChannelState::Closed);
    }
}
