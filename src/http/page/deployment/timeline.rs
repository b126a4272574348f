//! Who did what with a deployment: the carried-out commands of the audit, and what Panda and AWS did at the same times.

use chrono::{DateTime, Utc};

use crate::db::audit::AuditFilter;
use crate::db::deployments::DeploymentView;
use crate::domain::principal::{AuthMethod, Caller};
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::page::context::Page;

/// Most entries of the audit that are shown.
const MAX_ENTRIES: i64 = 50;

/// One entry, oldest first.
pub struct TimelineEntry {
    pub at: DateTime<Utc>,
    /// Name in the catalogue of texts.
    pub action: String,
    /// Who did it; none for Panda.
    pub subject: Option<String>,
    /// The role that it was done with.
    pub role: Option<String>,
    /// Error code of the failure.
    pub code: Option<String>,
}

/// Reads the timeline.
///
/// # Errors
/// The database failed.
pub async fn entries(
    state: &ApiState,
    page: &Page,
    caller: &Caller,
    row: &DeploymentView,
) -> Result<Vec<TimelineEntry>, ApiError> {
    let filter = AuditFilter { target: Some(row.id.clone()), limit: MAX_ENTRIES, ..AuditFilter::default() };
    let mut entries: Vec<TimelineEntry> = state
        .db
        .audit(caller.scope(), &filter)
        .await?
        .into_iter()
        // A refused approval is none; the audit view has it.
        .filter(|audited| audited.result == "done")
        .map(|audited| TimelineEntry {
            at: audited.at,
            action: audited.action,
            role: (audited.kind != AuthMethod::Nobody.as_str()).then_some(audited.role),
            subject: Some(if audited.kind == AuthMethod::Nobody.as_str() {
                page.t("timeline.unknown")
            } else {
                audited.subject
            }),
            code: audited.error_code,
        })
        .collect();
    let panda = |at: Option<DateTime<Utc>>, action: &str, code: Option<&String>| {
        at.map(|at| TimelineEntry { at, action: action.to_owned(), subject: None, role: None, code: code.cloned() })
    };
    let ended = if row.status == "FAILED" { "failed" } else { "completed" };
    entries.extend(panda(row.completed_at, ended, row.error_code.as_ref()));
    entries.extend(panda(row.ready_at, "ready", None));
    entries.sort_by_key(|entry| entry.at);
    Ok(entries)
}
