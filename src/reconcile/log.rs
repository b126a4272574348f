//! What is logged, as an admin wishes it for all replicas: a row of the database, looked for now and then, and at once by the replica that wrote it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::limits::UPKEEP;
use crate::db::Db;
use crate::db::log_filter::SetFilter;
use crate::domain::log_filter::LogFilter;
use crate::telemetry::{self, ABOUT_THE_LOG};

/// Has this process log what the row says, until `stop`.
pub(super) async fn run(db: Db, asked: Arc<Notify>, stop: CancellationToken) {
    let mut ruling: Option<Ruling> = None;
    let mut ticks = tokio::time::interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let over = ruling.as_ref().and_then(|ruling| ruling.ends);
        tokio::select! {
            _ = ticks.tick() => {}
            () = asked.notified() => {}
            () = at(over) => {}
            () = stop.cancelled() => return,
        }
        ruling = match db.log_filter().await {
            Ok(set) => follow(ruling, set),
            // By our own count of the time that the database gave: also one that is away must not keep a filter going.
            Err(_) if over.is_some_and(|over| over <= Instant::now()) => follow(ruling, None),
            Err(error) => {
                tracing::debug!(%error, "whether there is another log filter cannot be told now");
                ruling
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

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
