//! What the reconciler of this replica does.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::deployment::{Status, Unfinished};
use crate::domain::failure::ErrorCode;
use crate::domain::interruptions::Interruption;

/// Seconds of a step: from a look that finds everything done, to a build and a person's patience.
const STEP_BUCKETS: [f64; 10] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0, 7_200.0];

/// Seconds too late: the bars that are kept are 50 ms and 2 s.
const LATENESS_BUCKETS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.25, 1.0, 2.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStep {
    step: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStatus {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCode {
    error_code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCause {
    cause: &'static str,
}

/// What can interrupt a run of a step.
const CAUSES: [&str; 4] = ["process_death", "lease_lost", "statement_refused", "step_error"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

/// See the module: cheap to clone.
#[derive(Clone, Debug)]
pub struct ReconcileMetrics {
    ended: Family<OfStatus, Counter>,
    failures: Family<OfCode, Counter>,
    step_seconds: Family<OfStep, Histogram, fn() -> Histogram>,
    retries: Family<OfStep, Counter>,
    claims: Counter,
    interruptions: Family<OfCause, Counter>,
    ownership_lost: Counter,
    lateness: Histogram,
    builds: Gauge,
    unfinished: Family<OfState, Gauge>,
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
            lateness: Histogram::new(LATENESS_BUCKETS),
            builds: Gauge::default(),
            unfinished: Family::default(),
            oldest_overdue_seconds: Gauge::default(),
            driven: Gauge::default(),
            notifications: Counter::default(),
        };
        for status in [Status::Completed, Status::Failed, Status::DeploymentReady] {
            drop(new.ended.get_or_create(&OfStatus { status: status.as_str() }));
        }
        for code in ErrorCode::ALL {
            drop(new.failures.get_or_create(&OfCode { error_code: code.as_str().to_owned() }));
        }
        for cause in CAUSES {
            drop(new.interruptions.get_or_create(&OfCause { cause }));
        }
        new.set_unfinished(Unfinished::default());
        registry.register(
            "oldest_overdue_seconds",
            "For how long the deployment that has been left alone for longest has been so; 0 when there is none",
            new.oldest_overdue_seconds.clone(),
        );
        registry.register("deployments_driven", "Deployments that this replica is advancing", new.driven.clone());
        registry.register(
            "deployments",
            "Unfinished deployments in the database, whoever has them: running, queued, ready (for a person's switch), waiting_for_build. The same on every replica",
            new.unfinished.clone(),
        );
        registry.register("deployment_changes", "Deployments that this replica brought to a status", new.ended.clone());
        registry.register(
            "deployment_failures",
            "Deployments that this replica brought to FAILED, by the code that says why; those that people stopped are CANCELLED",
            new.failures.clone(),
        );
        registry.register_with_unit(
            "step",
            "How long this replica was at a step, from taking it up to a commit that ended it; polls and waits included",
            Unit::Seconds,
            new.step_seconds.clone(),
        );
        registry.register(
            "step_retries",
            "Tries of a step that could not do its work and were to be repeated",
            new.retries.clone(),
        );
        registry.register("claims", "Deployments that this replica claimed", new.claims.clone());
        registry.register(
            "interruptions",
            "Runs of steps that were interrupted, by cause: process_death (found by the replica that took over), lease_lost, statement_refused, step_error",
            new.interruptions.clone(),
        );
        registry.register(
            "ownership_lost",
            "Deployments that turned out to be another replica's, or were given up with the lease",
            new.ownership_lost.clone(),
        );
        registry.register_with_unit(
            "lateness",
            "How much later than planned a deployment was looked at again",
            Unit::Seconds,
            new.lateness.clone(),
        );
        registry.register("builds_running", "Build permits of this replica in use", new.builds.clone());
        registry.register(
            "notifications_sent",
            "NOTIFY statements, each for all events of a moment",
            new.notifications.clone(),
        );
        new
    }

    /// Has the series of these steps at zero.
    pub fn know(&self, steps: &[&str]) {
        for step in steps {
            let step = OfStep { step: (*step).to_owned() };
            drop(self.step_seconds.get_or_create(&step));
            drop(self.retries.get_or_create(&step));
        }
    }

    /// Records for how long a deployment has been left alone.
    pub fn set_oldest_overdue(&self, since: Duration) {
        self.oldest_overdue_seconds.set(since.as_secs_f64());
    }

    /// For how long, in seconds; 0 when there is none.
    pub fn oldest_overdue_seconds(&self) -> f64 {
        self.oldest_overdue_seconds.get()
    }

    /// Records how many deployments this replica advances.
    pub fn set_driven(&self, count: usize) {
        self.driven.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Records what the database holds.
    pub fn set_unfinished(&self, counts: Unfinished) {
        for (state, count) in [
            ("running", counts.running),
            ("queued", counts.queued),
            ("ready", counts.ready),
            ("waiting_for_build", counts.waiting_for_build),
        ] {
            self.unfinished.get_or_create(&OfState { state }).set(count);
        }
    }

    /// Records claims.
    pub fn claimed(&self, count: usize) {
        self.claims.inc_by(count as u64);
    }

    /// Records a run that was interrupted.
    pub fn interrupted(&self, interruption: Interruption) {
        self.count_cause(match interruption {
            Interruption::ProcessDeath => "process_death",
            Interruption::LeaseLost => "lease_lost",
        });
    }

    /// Records a statement that the database refused.
    pub fn statement_refused(&self) {
        self.count_cause("statement_refused");
    }

    fn count_cause(&self, cause: &'static str) {
        self.interruptions.get_or_create(&OfCause { cause }).inc();
    }

    /// Records that a deployment is another's by now.
    pub fn lost(&self) {
        self.ownership_lost.inc();
    }

    /// Records the end of a step, or of this replica's part of it.
    pub fn step_ended(&self, step: &str, took: Duration) {
        self.step_seconds.get_or_create(&OfStep { step: step.to_owned() }).observe(took.as_secs_f64());
    }

    /// Records a try that is to be repeated.
    pub fn step_retried(&self, step: &str) {
        self.retries.get_or_create(&OfStep { step: step.to_owned() }).inc();
        self.count_cause("step_error");
    }

    /// Records a status that was committed, and the code of a failure.
    pub fn reached(&self, status: Status, failure: Option<&str>) {
        self.ended.get_or_create(&OfStatus { status: status.as_str() }).inc();
        if let Some(code) = failure {
            self.failures.get_or_create(&OfCode { error_code: code.to_owned() }).inc();
        }
    }

    /// Records how late a look was.
    pub fn looked(&self, late: Duration) {
        self.lateness.observe(late.as_secs_f64());
    }

    /// Records a build permit that was taken, or given back.
    pub fn building(&self, more: bool) {
        if more {
            self.builds.inc()
        } else {
            self.builds.dec()
        };
    }

    /// Records a NOTIFY.
    pub fn notified(&self) {
        self.notifications.inc();
    }
}
