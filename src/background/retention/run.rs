//! Carries out one maintenance run in batches.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::run_end::{RunEnd, RunError};
use super::{RetentionContext, local_files};
use crate::db::DbError;
use crate::db::maintenance::{Batch, ClaimedRun, EventRemoval};
use crate::domain::catalogue::EventCode;
use crate::domain::maintenance::{LINES, RetentionKind, RetentionRunState};
use crate::failpoints::around;

/// Most rows of one transaction: holds their locks for some tens of milliseconds.
const ROWS: i64 = 2_000;

/// Shortest pause between two batches; the usual pause is as long as the batch took, so that maintenance uses at most half of a connection's time.
const PAUSE: Duration = Duration::from_millis(5);

/// Most tries in a row of a batch while the database is unavailable, [`RETRY_AFTER`] apart.
const TRIES: u32 = 5;

const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Carries out a run and records its end.
pub(super) async fn carry_out(context: &RetentionContext, run: ClaimedRun, stop: &CancellationToken) {
    let begun = Instant::now();
    tracing::info!(run = run.id, kind = %run.kind, dry_run = run.dry_run, older_than = run.older_than.map(|time| time.to_rfc3339()), "maintenance run started");
    let ended = Box::pin(work(context, &run, stop)).await;
    let (state, error) = match ended {
        Ok(RunEnd::State(state)) => (state, None),
        Ok(RunEnd::Lost) => {
            context.metrics.maintenance.ended(run.kind, RetentionRunState::Interrupted);
            return tracing::warn!(run = run.id, kind = %run.kind, "maintenance run lost: its lease expired and another replica ended it");
        }
        Err(error) => (RetentionRunState::Failed, Some(error.to_string())),
    };
    context.metrics.maintenance.ended(run.kind, state);
    let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match &error {
        None => tracing::info!(run = run.id, kind = %run.kind, state = state.as_str(), millis, "maintenance run ended"),
        Some(error) => tracing::warn!(run = run.id, kind = %run.kind, %error, millis, "maintenance run failed"),
    }
    let end = context.db.end_maintenance(run.id, state, error.as_deref());
    if let Err(error) = around("maintenance end", end).await {
        tracing::warn!(%error, run = run.id, "end of the maintenance run not recorded; it will count as interrupted");
    }
}

async fn work(context: &RetentionContext, run: &ClaimedRun, stop: &CancellationToken) -> Result<RunEnd, RunError> {
    if run.kind.is_local() {
        return local_files::work(context, run, stop).await;
    }
    // No retention: kept for ever.
    if run.older_than.is_none() {
        return Ok(RunEnd::State(RetentionRunState::Done));
    }
    if run.dry_run {
        return count(context, run, stop).await;
    }
    let mut failures = 0;
    loop {
        if stop.is_cancelled() {
            return Ok(RunEnd::State(RetentionRunState::Stopped));
        }
        let begun = Instant::now();
        let removed = match around("maintenance batch", Box::pin(batch(context, run))).await {
            Ok(Batch::Some(removed)) => removed,
            Ok(Batch::Last(removed)) => {
                context.metrics.maintenance.removed(run.kind, removed);
                return Ok(RunEnd::State(RetentionRunState::Done));
            }
            Ok(Batch::Lost) => return Ok(RunEnd::Lost),
            Err(error) => {
                failures += 1;
                if failures >= TRIES || !error.is_unavailable() {
                    return Err(error.into());
                }
                tracing::warn!(%error, kind = %run.kind, "maintenance batch failed, retrying");
                pause(RETRY_AFTER, stop).await;
                continue;
            }
        };
        failures = 0;
        context.metrics.maintenance.removed(run.kind, removed);
        pause(begun.elapsed().max(PAUSE), stop).await;
    }
}

async fn batch(context: &RetentionContext, run: &ClaimedRun) -> Result<Batch, DbError> {
    match run.kind {
        RetentionKind::BuildLines | RetentionKind::Events => context.db.remove_events(run, &removal(run.kind)).await,
        RetentionKind::Deployments => context.db.archive_ended(run, context.keep_releases, &removal(run.kind)).await,
        RetentionKind::Runs => context.db.remove_maintenance_runs(run, ROWS).await,
        RetentionKind::Workspaces | RetentionKind::Images => Ok(Batch::Last(0)),
    }
}

fn removal(kind: RetentionKind) -> EventRemoval {
    let lines = || LINES.map(EventCode::as_str).map(str::to_owned).to_vec();
    EventRemoval { codes: (kind == RetentionKind::BuildLines).then(lines), batch: ROWS }
}

/// Counts what a run would remove, with the same conditions.
async fn count(context: &RetentionContext, run: &ClaimedRun, stop: &CancellationToken) -> Result<RunEnd, RunError> {
    let counted = match run.kind {
        RetentionKind::BuildLines | RetentionKind::Events => {
            let (removal, mut after) = (removal(run.kind), None);
            while let Some((count, last)) = context.db.count_events(run, &removal, after.take()).await? {
                if !context.db.renew_maintenance(run.id, count).await? {
                    return Ok(RunEnd::Lost);
                }
                if stop.is_cancelled() {
                    return Ok(RunEnd::State(RetentionRunState::Stopped));
                }
                after = Some(last);
            }
            return Ok(RunEnd::State(RetentionRunState::Done));
        }
        RetentionKind::Deployments => context.db.count_ended(run, context.keep_releases).await?,
        RetentionKind::Runs => context.db.count_maintenance_runs(run).await?,
        RetentionKind::Workspaces | RetentionKind::Images => 0,
    };
    Ok(if context.db.renew_maintenance(run.id, counted).await? {
        RunEnd::State(RetentionRunState::Done)
    } else {
        RunEnd::Lost
    })
}

/// Sleeps for `time`, or until `stop`.
async fn pause(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}
