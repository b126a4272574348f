//! The schema `panda_report`: results and readers of its views, and their agreement with the documentation.

mod deployments;
mod docs;
mod dora_v2;
pub mod figures;
mod grafana;
mod recorded_ends;
mod role;
mod updated_at;
mod view_definitions;

pub use panda_testing::postgres::report::{json, lines, reporter};

/// The views for reporters, in the order of the document.
pub const VIEWS: [&str; 17] = [
    "deployments_v1",
    "events_v1",
    "stages_v1",
    "failures_v1",
    "approvals_v1",
    "queue_v1",
    "throughput_v1",
    "dora_occurrences_v1",
    "dora_daily_v1",
    "dora_monthly_v1",
    "attempts_v1",
    "measurements_v1",
    "step_runs_v1",
    "approvals_v2",
    "dora_occurrences_v2",
    "dora_daily_v2",
    "dora_monthly_v2",
];
