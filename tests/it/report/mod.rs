//! The schema `panda_report`: results and readers of its views, and their agreement with the documentation.

mod deployments;
mod docs;
pub mod figures;
mod grafana;
mod role;
mod view_definitions;

pub use panda_testing::postgres::report::{json, lines, reporter};

/// The views for reporters, in the order of the document.
pub const VIEWS: [&str; 10] = [
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
];
