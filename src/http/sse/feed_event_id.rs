//! Event ids of the stream of all deployments.

use std::fmt;

use uuid::Uuid;

/// The id of an event in the stream of all deployments: `TRANSACTION.ID`. The transaction gives its position in the table's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedEventId {
    /// The database transaction that wrote the event.
    pub transaction: i64,
    /// The event's id in the stream of its deployment.
    pub id: Uuid,
}

impl FeedEventId {
    pub fn parse(text: &str) -> Option<Self> {
        let (transaction, id) = text.split_once('.')?;
        Some(Self { transaction: transaction.parse().ok()?, id: Uuid::try_parse(id).ok()? })
    }
}

impl fmt::Display for FeedEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.transaction, self.id)
    }
}
