//! Reads the log of one deployment in bounded pages, with the caller's share of the reads of stored events.

use super::super::caller::ToolCaller;
use crate::db::Class;
use crate::db::events::{EventPosition, EventsAfter};
use crate::domain::event::StoredEvent;
use crate::http::error::ApiError;
use crate::http::error::server::ServerError;
use crate::http::routes::deploy::not_found::not_found;

/// Most bytes of event parameters of one page, unless the first event alone has more.
const PAGE_BYTES: i64 = 512 * 1024;

/// The log of a deployment in the caller's scope.
pub struct ToolLog<'a> {
    call: &'a ToolCaller,
    id: &'a str,
    /// Number of the newest event; 0 before the first.
    pub newest: i64,
}

impl<'a> ToolLog<'a> {
    /// Finds the log.
    ///
    /// # Errors
    /// There is no such deployment, or it is archived.
    pub async fn open(call: &'a ToolCaller, id: &'a str) -> Result<Self, ApiError> {
        let (db, scope) = (&call.state.db, call.caller.scope());
        let newest = if db.is_in_scope(id, scope).await? { db.stream_state(id).await? } else { None };
        match newest {
            Some(state) => Ok(Self { call, id, newest: state.last_seq }),
            None => Err(not_found(&call.state, scope, id.to_owned()).await),
        }
    }

    /// Reads at most `limit` events after the number `after`, in order; fewer if they are large.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn page(&self, after: i64, limit: i64) -> Result<Vec<StoredEvent>, ApiError> {
        let (state, caller) = (&self.call.state, &self.call.caller);
        let _permit = state.replays.share_of(&caller.principal, caller.address).acquire().await;
        let after = EventPosition { seq: after, id: None };
        match state.db.of(Class::Replay).events_page(self.id, after, limit, PAGE_BYTES).await? {
            EventsAfter::Events(events) => Ok(events),
            // Only a known id of an event can be lost.
            EventsAfter::Lost => Err(ServerError::Internal.into()),
        }
    }
}
