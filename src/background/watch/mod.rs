//! Watches what AWS may change without a caller: deployments that await their switch, and switched ones whose blue is not terminated yet.
//!
//! The watch only compares. Where AWS has another state than the row, it requests a look: the row becomes claimable, its owner's step asks AWS again
//! and decides, and the fenced commit stores state and events. So a crash, a second replica or a second request for the same look changes nothing, and a
//! deployment that has not changed costs no write.
//!
//! Status events of ECS request looks themselves. Where they arrive, the watch compares a third of the rollouts in each period, so that a lost event costs three
//! periods at most.
//!
//! In each period one replica has the turn, by a lease that expires. If it dies during its pass, the rest is compared in the next period.

mod compare;
mod pass;

use std::sync::Arc;
use std::time::Duration;

use super::every::{Next, Periodic, Trigger};
use crate::db::{Db, DbError};
use crate::metrics::WatchMetrics;
use crate::steps::Services;
use pass::Pass;

/// Longest watch of a switched deployment: CodeDeploy keeps blue for two days at most, and a rollback needs time.
const LONGEST: Duration = Duration::from_hours(72);

/// The watch of one replica.
pub(super) struct Watch {
    db: Db,
    services: Arc<Services>,
    metrics: WatchMetrics,
}

impl Watch {
    pub(super) fn new(db: Db, services: Arc<Services>, metrics: WatchMetrics) -> Self {
        Self { db, services, metrics }
    }
}

impl Periodic for Watch {
    const NAME: &'static str = "watch of deployments at AWS";
    const ON_ERROR: &'static str = "deployments not compared with AWS, retrying in the next period";

    async fn run(&mut self, _: Trigger) -> Result<Next, DbError> {
        // A little shorter than the period: the replica that had the last turn may have the next one.
        let turn = self.services.settings.watch_interval.mul_f64(0.9);
        let Some(turn) = self.db.take_watch_turn(turn).await? else { return Ok(Next::Period) };
        let ended = self.db.end_overdue_watches(LONGEST).await?;
        if ended > 0 {
            tracing::warn!(
                ended,
                "switched deployments no longer watched: their connection was removed, or AWS cannot change them any more"
            );
        }
        Pass { db: &self.db, services: &self.services, metrics: &self.metrics }.run(turn).await?;
        Ok(Next::Period)
    }
}
