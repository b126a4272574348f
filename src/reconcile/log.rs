//! What is logged, as an admin wishes it for all replicas: a row of the database, looked for by the upkeep, and at once by the replica that wrote
//! it.

use std::time::Duration;

use tokio::time::Instant;

use crate::db::DbError;
use crate::db::log_filter::SetFilter;
use crate::domain::log_filter::LogFilter;
use crate::telemetry::{self, ABOUT_THE_LOG};

/// What this process logs in place of its own.
#[derive(Default)]
pub(super) struct Log(Option<Ruling>);

impl Log {
    /// Ends when the time of the filter that rules is up, by our own count; never when our own rules.
    pub(super) async fn over(&self) {
        match self.0.as_ref().and_then(|ruling| ruling.ends) {
            Some(time) => tokio::time::sleep_until(time).await,
            None => std::future::pending().await,
        }
    }

    /// Does what was found, or goes back when nothing was and the time is up: also a database that is away must not keep a filter going.
    pub(super) fn follow(&mut self, found: Result<Option<SetFilter>, &DbError>) {
        let before = self.0.take();
        self.0 = match found {
            Ok(set) => follow(before, set),
            Err(_) if before.as_ref().and_then(|ruling| ruling.ends).is_some_and(|ends| ends <= Instant::now()) => {
                follow(before, None)
            }
            Err(error) => {
                tracing::debug!(%error, "whether there is another log filter cannot be told now");
                before
            }
        };
    }
}

/// The filter that somebody set and that this process heeds.
struct Ruling {
    set: SetFilter,
    /// None so far off that a process does not live to see it.
    ends: Option<Instant>,
}

/// Goes over to what is set now, and says so when that is something else.
fn follow(before: Option<Ruling>, set: Option<SetFilter>) -> Option<Ruling> {
    let Some(set) = set else {
        let before = before?;
        go_back(&before);
        return None;
    };
    let is_new = before.as_ref().is_none_or(|before| before.set.set_at != set.set_at);
    if is_new {
        if let Err(reason) = set.filter.parse::<LogFilter>().and_then(|filter| telemetry::rule(Some(&filter))) {
            let _ = telemetry::rule(None);
            tracing::warn!(target: ABOUT_THE_LOG, filter = set.filter, reason, "the log filter that was set cannot be used here");
        } else {
            tracing::info!(target: ABOUT_THE_LOG, filter = set.filter, by = set.set_by, until = %set.until.to_rfc3339(), "the log filter was set");
        }
    }
    let ends = Instant::now().checked_add(set.left() + Duration::from_millis(1));
    Some(Ruling { set, ends })
}

fn go_back(before: &Ruling) {
    // Our own was parsed when we began.
    let _ = telemetry::rule(None);
    let (filter, was) = (telemetry::own_filter(), before.set.filter.as_str());
    tracing::info!(target: ABOUT_THE_LOG, filter, was, by = before.set.set_by, until = %before.set.until.to_rfc3339(), "the log filter is the default again");
}
