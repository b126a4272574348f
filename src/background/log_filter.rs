//! Applies the log filter that an admin sets for all replicas. It is a row in the database, polled every ten seconds, and read immediately by the
//! replica that wrote it.

use std::time::Duration;

use tokio::time::Instant;

use crate::db::DbError;
use crate::db::log_filter::SetFilter;
use crate::domain::log_filter::LogFilter;
use crate::telemetry::{self, LOG_CONTROL_TARGET};

/// The log filter that this process applies in place of its configured one.
#[derive(Default)]
pub(super) struct AppliedFilter(Option<Override>);

impl AppliedFilter {
    /// Completes when the filter expires by this process's clock; never while the configured filter applies.
    pub(super) async fn expired(&self) {
        match self.0.as_ref().and_then(|applied| applied.ends) {
            Some(time) => tokio::time::sleep_until(time).await,
            None => std::future::pending().await,
        }
    }

    /// Applies the filter that was read. When the read failed, restores the configured filter once the present one expires: an unreachable
    /// database must not keep a filter in force.
    pub(super) fn follow(&mut self, found: Result<Option<SetFilter>, &DbError>) {
        let before = self.0.take();
        self.0 = match found {
            Ok(set) => follow(before, set),
            Err(_) if before.as_ref().and_then(|applied| applied.ends).is_some_and(|ends| ends <= Instant::now()) => {
                follow(before, None)
            }
            Err(error) => {
                tracing::debug!(%error, "log filter not read");
                before
            }
        };
    }
}

/// A filter set by an admin, in force in this process.
struct Override {
    set: SetFilter,
    /// `None` when the expiry is beyond the range of `Instant`.
    ends: Option<Instant>,
}

/// Applies the filter `set`, or the configured one without it, and logs each change.
fn follow(before: Option<Override>, set: Option<SetFilter>) -> Option<Override> {
    let Some(set) = set else {
        let before = before?;
        restore(&before);
        return None;
    };
    let is_new = before.as_ref().is_none_or(|before| before.set.set_at != set.set_at);
    if is_new {
        if let Err(reason) = set.filter.parse::<LogFilter>().and_then(|filter| telemetry::set_filter(Some(&filter))) {
            let _ = telemetry::set_filter(None);
            tracing::warn!(target: LOG_CONTROL_TARGET, filter = set.filter, %reason, "log filter set by an admin cannot be applied");
        } else {
            tracing::info!(target: LOG_CONTROL_TARGET, filter = set.filter, by = set.set_by, until = %set.until.to_rfc3339(), "log filter set");
        }
    }
    let ends = Instant::now().checked_add(set.left() + Duration::from_millis(1));
    Some(Override { set, ends })
}

fn restore(before: &Override) {
    // The configured filter was parsed at the start of the process.
    let _ = telemetry::set_filter(None);
    let (filter, was) = (telemetry::default_filter(), before.set.filter.as_str());
    tracing::info!(target: LOG_CONTROL_TARGET, filter, was, by = before.set.set_by, until = %before.set.until.to_rfc3339(), "log filter restored to the default");
}
