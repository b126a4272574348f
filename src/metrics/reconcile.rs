//! Metrics of this replica's reconciler.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::recent_max::RecentMax;
use crate::domain::deployment::{Status, Unfinished};
use crate::domain::failure::ErrorCode;
use crate::domain::interruptions::Interruption;

/// Histogram buckets of step durations in seconds: from a check that finds nothing to do, to builds and manual approvals.
const STEP_BUCKETS: [f64; 10] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0, 7_200.0];

/// Histogram buckets of lateness in seconds. The objectives are 50 ms and 2 s.
const LATENESS_BUCKETS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.25, 1.0, 2.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    error_code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    cause: &'static str,
}

/// Label values: the causes that interrupt a run of a step.
const CAUSES: [&str; 4] = ["process_death", "lease_lost", "statement_refused", "step_error"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// Metrics of this replica's reconciler. Clones share the values.
#[derive(Clone, Debug)]
pub struct ReconcileMetrics {
    ended: Family<StatusLabels, Counter>,
    failures: Family<CodeLabels, Counter>,
    step_seconds: Family<StepLabels, Histogram, fn() -> Histogram>,
    retries: Family<StepLabels, Counter>,
    claims: Counter,
    interruptions: Family<CauseLabels, Counter>,
    ownership_lost: Counter,
    recent_lateness: RecentMax,
    lateness: Histogram,
    builds: Gauge,
    unfinished: Family<StateLabels, Gauge>,
    oldest_overdue_seconds: Gauge<f64, AtomicU64>,
    driven: Gauge,
    notifications: Counter,
}

impl ReconcileMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self {
            ended: Family::default(),
            failures: Family::default(),
            step_seconds: Family::new_with_constructor(|| Histogram::new(STEP_BUCKETS)),
            retries: Family::default(),
            claims: Counter::default(),
            interruptions: Family::default(),
            ownership_lost: Counter::default(),
            recent_lateness: RecentMax::new(Instant::now()),
            lateness: Histogram::new(LATENESS_BUCKETS),
            builds: Gauge::default(),
            unfinished: Family::default(),
            oldest_overdue_seconds: Gauge::default(),
            driven: Gauge::default(),
            notifications: Counter::default(),
        };
        for status in [Status::Completed, Status::Failed, Status::DeploymentReady] {
            drop(new.ended.get_or_create(&StatusLabels { status: status.as_str() }));
        }
        for code in ErrorCode::ALL {
            drop(new.failures.get_or_create(&CodeLabels { error_code: code.as_str().to_owned() }));
        }
        for cause in CAUSES {
            drop(new.interruptions.get_or_create(&CauseLabels { cause }));
        }
        new.set_unfinished(Unfinished::default());
        registry.register(
            "oldest_overdue_seconds",
            "Time since the most overdue deployment was due; 0 if none is overdue",
            new.oldest_overdue_seconds.clone(),
        );
        registry.register("deployments_driven", "Deployments driven by this replica", new.driven.clone());
        registry.register(
            "deployments",
            "Unfinished deployments in the database, by state: running, queued, ready (for a manual switch), waiting_for_build, awaiting_renewal. The same on every replica",
            new.unfinished.clone(),
        );
        registry.register("deployment_changes", "Deployments that this replica moved to a status", new.ended.clone());
        registry.register(
            "deployment_failures",
            "Deployments that this replica moved to FAILED, by error code; a manual stop has the code CANCELLED",
            new.failures.clone(),
        );
        registry.register_with_unit(
            "step",
            "Time this replica spent on a step, from its start to the commit that ended it, including polls and waits",
            Unit::Seconds,
            new.step_seconds.clone(),
        );
        registry.register("step_retries", "Attempts of a step that failed with a retryable error", new.retries.clone());
        registry.register("claims", "Deployments claimed by this replica", new.claims.clone());
        registry.register(
            "interruptions",
            "Interrupted runs of steps, by cause: process_death (counted by the replica that took over), lease_lost, statement_refused, step_error",
            new.interruptions.clone(),
        );
        registry.register(
            "ownership_lost",
            "Deployments lost to another replica, or abandoned because the lease was lost",
            new.ownership_lost.clone(),
        );
        registry.register_with_unit(
            "lateness",
            "Delay between the planned and the actual start of a deployment's next iteration",
            Unit::Seconds,
            new.lateness.clone(),
        );
        registry.register("builds_running", "Build permits in use on this replica", new.builds.clone());
        registry.register(
            "notifications_sent",
            "NOTIFY statements, each of which covers all events committed since the last one",
            new.notifications.clone(),
        );
        new
    }

    /// Creates the series of these steps with the value zero.
    pub fn register_steps(&self, steps: &[&str]) {
        for step in steps {
            let step = StepLabels { step: (*step).to_owned() };
            drop(self.step_seconds.get_or_create(&step));
            drop(self.retries.get_or_create(&step));
        }
    }

    /// Sets the time since the most overdue deployment was due.
    pub fn set_oldest_overdue(&self, overdue: Duration) {
        self.oldest_overdue_seconds.set(overdue.as_secs_f64());
    }

    /// Returns the time since the most overdue deployment was due, in seconds; 0 if none is overdue.
    pub fn oldest_overdue_seconds(&self) -> f64 {
        self.oldest_overdue_seconds.get()
    }

    /// Sets the number of deployments that this replica drives.
    pub fn set_driven(&self, count: usize) {
        self.driven.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets the numbers of unfinished deployments in the database.
    pub fn set_unfinished(&self, counts: Unfinished) {
        for (state, count) in [
            ("running", counts.running),
            ("queued", counts.queued),
            ("ready", counts.ready),
            ("waiting_for_build", counts.waiting_for_build),
            ("awaiting_renewal", counts.awaiting_renewal),
        ] {
            self.unfinished.get_or_create(&StateLabels { state }).set(count);
        }
    }

    pub(crate) fn claimed(&self, count: usize) {
        self.claims.inc_by(count as u64);
    }

    /// Counts an interrupted run of a step.
    pub fn interrupted(&self, interruption: Interruption) {
        self.count_cause(match interruption {
            Interruption::ProcessDeath => "process_death",
            Interruption::LeaseLost => "lease_lost",
        });
    }

    /// Counts a statement that the database refused.
    pub fn statement_refused(&self) {
        self.count_cause("statement_refused");
    }

    fn count_cause(&self, cause: &'static str) {
        self.interruptions.get_or_create(&CauseLabels { cause }).inc();
    }

    /// Counts a deployment that another replica owns by now.
    pub fn ownership_lost(&self) {
        self.ownership_lost.inc();
    }

    /// Records the time that this replica spent on a step.
    pub fn step_ended(&self, step: &str, took: Duration) {
        self.step_seconds.get_or_create(&StepLabels { step: step.to_owned() }).observe(took.as_secs_f64());
    }

    /// Counts a retryable failure of a step.
    pub fn step_retried(&self, step: &str) {
        self.retries.get_or_create(&StepLabels { step: step.to_owned() }).inc();
        self.count_cause("step_error");
    }

    /// Counts a committed change of status, and the error code of a failure.
    pub fn reached(&self, status: Status, failure: Option<&str>) {
        self.ended.get_or_create(&StatusLabels { status: status.as_str() }).inc();
        if let Some(code) = failure {
            self.failures.get_or_create(&CodeLabels { error_code: code.to_owned() }).inc();
        }
    }

    /// Records the delay between the planned and the actual start of an iteration.
    pub fn record_lateness(&self, late: Duration) {
        self.lateness.observe(late.as_secs_f64());
        self.recent_lateness.record(late, Instant::now());
    }

    /// Returns the highest lateness of the last moments. Work that can wait yields to the reconciler while it is high.
    pub fn recent_lateness(&self) -> Duration {
        self.recent_lateness.max(Instant::now())
    }

    /// Adjusts the number of build permits in use: up when `acquired`, down when released.
    pub fn count_build_permit(&self, acquired: bool) {
        if acquired {
            self.builds.inc()
        } else {
            self.builds.dec()
        };
    }

    pub(crate) fn notified(&self) {
        self.notifications.inc();
    }
}
