//! The stages of a deployment as a progress bar.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::db::deployments::DeploymentView;
use crate::db::deployments::stages::StageView;

/// All stages, in their order.
const STAGES: [&str; 6] = ["Step 1", "Step 2", "Stage 1", "Stage 2", "Stage 3", "Stage 4"];

/// A stage of the bar.
pub struct StageRow {
    /// Name in the catalogue of texts: `step_1`, `stage_4`.
    pub name: String,
    /// `done`, `running`, `waiting` (for the approval), `failed` or `pending`.
    pub state: &'static str,
    /// Start of a running stage, from which the page counts on.
    pub started_at: Option<DateTime<Utc>>,
    /// Working time in seconds; none before it begins.
    pub seconds: Option<f64>,
    /// Usual working time in seconds; none without completed deployments of the target.
    pub usual: Option<f64>,
}

/// Builds the bar. A stage that is open is running, or failed with its deployment; the last begun stage of a failed deployment has failed.
pub fn rows(begun: &[StageView], usual: &HashMap<String, f64>, deployment: &DeploymentView) -> Vec<StageRow> {
    let last = begun.last().map(|stage| stage.stage.as_str());
    let (failed, finished) = (deployment.status == "FAILED", deployment.completed_at.is_some());
    let waits = deployment.status == "DEPLOYMENT_READY" && deployment.switch_requested_at.is_none();
    let row = |name: &&str| {
        let found = begun.iter().find(|stage| stage.stage == **name);
        let state = match found {
            None => "pending",
            Some(_) if failed && last == Some(*name) => "failed",
            Some(_) if waits && last == Some(*name) => "waiting",
            Some(stage) if stage.ended_at.is_none() && !finished => "running",
            Some(_) => "done",
        };
        StageRow {
            name: name.to_lowercase().replace(' ', "_"),
            state,
            started_at: found.filter(|_| state == "running").map(|stage| stage.started_at),
            seconds: found.map(|stage| stage.working_seconds),
            usual: usual.get(*name).copied(),
        }
    };
    STAGES.iter().map(row).collect()
}
