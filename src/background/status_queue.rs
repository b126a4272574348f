//! Status events of AWS, from a queue that all replicas share: each asks the owner of the deployment that it is about for an early poll.
//!
//! An event never changes a deployment, and polling does not depend on it: a lost, late, repeated or forged message costs nothing but a poll, of which a
//! deployment has a limited number. So every message is deleted once the owner was notified, whatever it contains; only if the database is unreachable, it
//! stays on the queue, which delivers it again.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::every::{Next, Period, Periodic, Trigger};
use crate::clients::ClientError;
use crate::clients::aws::StatusQueue;
use crate::db::{Db, DbError};
use crate::domain::log_throttle::LogThrottle;
use crate::domain::status_event::{StatusSubject, subject};

/// Shortest time between two calls: receiving waits for messages itself.
pub(super) const PERIOD: Period = Period::Interval(Duration::from_millis(50));

/// Time after which a queue that cannot be read is read again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

static ERRORS: LogThrottle = LogThrottle::new();

/// Reads the queue, together with the other replicas.
pub(super) struct StatusQueueReader {
    pub(super) db: Db,
    pub(super) queue: StatusQueue,
    pub(super) stop: CancellationToken,
}

impl Periodic for StatusQueueReader {
    const NAME: &'static str = "status queue";
    const ON_ERROR: &'static str = "status events not handled, the queue delivers them again";

    async fn run(&mut self, _trigger: Trigger) -> Result<Next, DbError> {
        let received = tokio::select! {
            received = self.queue.receive() => received,
            () = self.stop.cancelled() => return Ok(Next::Period),
        };
        let messages = match received {
            Ok(messages) => messages,
            Err(error) => return Ok(retry(&error, "status queue not readable")),
        };
        if messages.is_empty() {
            return Ok(Next::Period);
        }
        let subjects: BTreeSet<StatusSubject> = messages.iter().filter_map(|message| subject(&message.body)).collect();
        let subjects: Vec<StatusSubject> = subjects.into_iter().collect();
        if !subjects.is_empty() {
            // What rests has no owner that polls: a look makes it claimable.
            self.db.request_looks_about(&subjects).await?;
            for id in self.db.deployments_about(&subjects).await? {
                self.db.notify_work(&id).await?;
            }
        }
        tracing::debug!(messages = messages.len(), subjects = subjects.len(), "status events received");
        Ok(match self.queue.delete(&messages).await {
            Ok(()) => Next::Period,
            Err(error) => retry(&error, "status events not deleted, the queue delivers them again"),
        })
    }
}

fn retry(error: &ClientError, effect: &str) -> Next {
    if ERRORS.allows(error) {
        tracing::warn!(%error, "{effect}; polling continues without the queue");
    }
    Next::After(RETRY_AFTER)
}
