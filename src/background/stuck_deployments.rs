//! Finds deployments that should have progressed and have not: sets the metric of the most overdue one, and names it in the log.

use std::time::Duration;

use tokio::time::Instant;

use super::every::warn_throttled;
use crate::db::Db;
use crate::db::stuck_deployments::StuckDeployment;
use crate::domain::log_throttle::LogThrottle;
use crate::metrics::ReconcileMetrics;
use crate::steps::{Settings, Step};

/// Time without progress after which the log names a deployment as stuck: longer than a takeover takes.
const LOG_AFTER: Duration = Duration::from_secs(30);

/// Interval between two log lines about a stuck deployment.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The limits of the steps, and the time of the last log line.
pub(super) struct StuckDeployments {
    limits: Vec<(String, Duration)>,
    logged: Option<Instant>,
    failures: LogThrottle,
}

impl StuckDeployments {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { limits: Step::limits(settings), logged: None, failures: LogThrottle::new() }
    }

    /// Checks all deployments once.
    pub(super) async fn check(&mut self, db: &Db, metrics: &ReconcileMetrics) {
        let overdue = match db.longest_stuck_deployment(&self.limits).await {
            Ok(overdue) => overdue,
            Err(error) => return warn_throttled(&self.failures, &error, "stuck deployments not checked"),
        };
        metrics.set_oldest_overdue(overdue.as_ref().map_or(Duration::ZERO, |overdue| overdue.since));
        if let Some(overdue) = overdue.filter(|overdue| overdue.since >= LOG_AFTER)
            && self.logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL)
        {
            self.logged = Some(Instant::now());
            log_stuck(&overdue);
        }
    }
}

fn log_stuck(overdue: &StuckDeployment) {
    let (deployment, step, seconds) = (overdue.id.as_str(), overdue.step.as_str(), overdue.since.as_secs());
    let holder = overdue.replica.as_deref().unwrap_or("none");
    let reason = if overdue.replica.is_some() {
        "its replica is alive and does not advance it"
    } else {
        "no replica owns it: check that one has capacity and a free build permit"
    };
    tracing::warn!(deployment, step, seconds, holder, reason, "deployment is stuck");
}
