//! Reports a deployment that should have progressed and has not: sets the metric of the most overdue one, and names it in the log.

use std::time::Duration;

use tokio::time::Instant;

use crate::db::shared_state::StuckDeployment;
use crate::metrics::ReconcileMetrics;

/// Time without progress after which the log names a deployment as stuck: longer than a takeover takes.
const LOG_AFTER: Duration = Duration::from_secs(30);

/// Interval between two log lines about a stuck deployment.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The time of the last log line.
#[derive(Default)]
pub(super) struct StuckDeployments {
    logged: Option<Instant>,
}

impl StuckDeployments {
    /// Reports the most overdue deployment; none when all progress.
    pub(super) fn report(&mut self, overdue: Option<&StuckDeployment>, metrics: &ReconcileMetrics) {
        metrics.set_oldest_overdue(overdue.map_or(Duration::ZERO, |overdue| overdue.since));
        if let Some(overdue) = overdue.filter(|overdue| overdue.since >= LOG_AFTER)
            && self.logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL)
        {
            self.logged = Some(Instant::now());
            log_stuck(overdue);
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
