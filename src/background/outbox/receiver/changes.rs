//! Contents of the next commit of a receiver.

use std::time::Duration;

use uuid::Uuid;

use crate::db::feed::FeedKey;
use crate::db::outbox::{DeliveryChange, DeliveryState, OutboxCommit, ShownDeployment};

/// Changes since the last commit.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) delivered: i64,
    pub(super) rows: Vec<DeliveryChange>,
    pub(super) released: Vec<String>,
    /// Deployments that are busy until the commit, and rows.
    pub(super) answered: Vec<(String, Uuid)>,
    pub(super) recovered: bool,
    pub(super) gone: bool,
    pub(super) shown: Vec<ShownDeployment>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.delivered == 0
            && self.rows.is_empty()
            && self.answered.is_empty()
            && self.released.is_empty()
            && self.shown.is_empty()
    }

    /// Takes the changes for a commit. What was answered stays until it is committed.
    pub(super) fn commit(&mut self, receiver: &str, version: i64, cursor: FeedKey, ahead: Vec<Uuid>) -> OutboxCommit {
        OutboxCommit {
            receiver: receiver.to_owned(),
            version,
            cursor,
            ahead,
            delivered: std::mem::take(&mut self.delivered),
            rows: std::mem::take(&mut self.rows),
            released: std::mem::take(&mut self.released),
            recovered: std::mem::take(&mut self.recovered),
            gone: self.gone,
            shown: std::mem::take(&mut self.shown),
        }
    }
}

/// A row to write.
pub(super) fn row(
    event_id: Uuid,
    key: FeedKey,
    state: DeliveryState,
    attempts: i32,
    wait: Option<Duration>,
    (status, error): (Option<u16>, Option<String>),
) -> DeliveryChange {
    DeliveryChange { event_id, key, state, attempts, wait, status, error }
}
