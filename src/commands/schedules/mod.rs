//! Schedules: deployments that start at set times. A schedule acts with the permission of its owner, the caller that created or changed it last.

pub mod change;
pub mod create;
pub mod delete;
pub mod error;
pub mod retime;
pub mod run_due;
pub mod run_now;
pub mod stop;
pub(in crate::commands) mod target;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::db::audit::{self, AuditRecord};
use crate::db::schedules::ScheduleSpec;
use crate::db::{DbError, PgConnection};
use crate::domain::audit::Action;
use crate::domain::principal::Caller;

/// The next time of a schedule after `now`; none while it is paused.
fn next_time(spec: &ScheduleSpec, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if spec.paused { None } else { spec.cron.next_after(now, spec.zone) }
}

/// The values of a schedule for its audit entry.
fn details(spec: &ScheduleSpec) -> Value {
    let mut details = json!({
        "name": spec.name, "cron": spec.cron.as_str(), "timeZone": spec.zone.name(),
        "concurrency": spec.concurrency, "missed": spec.missed, "paused": spec.paused,
        "githubConnectionId": spec.github_connection_id, "awsConnectionId": spec.aws_connection_id,
    });
    for (name, value) in spec.requested.details() {
        details[name] = value;
    }
    details
}

async fn record(
    tx: &mut PgConnection,
    by: &Caller,
    action: Action,
    id: &str,
    (owner, repo): (&str, &str),
    details: Value,
) -> Result<(), DbError> {
    let entry = AuditRecord { by, action, target: Some(id), repository: Some((owner, repo)), refused: None, details };
    audit::record(tx, &entry).await.map(drop)
}
