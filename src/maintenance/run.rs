//! One run, batch by batch.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Parts, local};
use crate::db::DbError;
use crate::db::maintenance::{Batch, Removal, Run};
use crate::domain::catalogue::EventCode;
use crate::domain::maintenance::{Kind, LINES, State};
use crate::failpoints::around;

/// Most rows of one transaction: some tens of milliseconds, for whoever waits for a lock of one of them.
const ROWS: i64 = 2_000;

/// Shortest pause between two batches; the usual one is as long as the batch took, so that maintenance has at most half of a connection's time.
const PAUSE: Duration = Duration::from_millis(5);

/// How often in a row a batch is tried while the database is away, with [`AWAY`] between.
const TRIES: u32 = 5;

/// See [`TRIES`].
const AWAY: Duration = Duration::from_secs(2);

/// Why a run ended before its work did.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] crate::clients::ClientError),
    /// A folder.
    #[error("{0}")]
    Folder(String),
}

/// How a run ended.
pub(super) enum End {
    /// As said.
    Now(State),
    /// It is another's by now, who writes how it ended.
    Lost,
}

/// Carries out a run and writes how it ended.
pub(super) async fn carry_out(parts: &Parts, run: Run, stop: &CancellationToken) {
    let begun = Instant::now();
    tracing::info!(run = run.id, kind = %run.kind, dry_run = run.dry_run, older_than = run.older_than.map(|time| time.to_rfc3339()), "maintenance begins");
    let ended = Box::pin(work(parts, &run, stop)).await;
    let (state, error) = match ended {
        Ok(End::Now(state)) => (state, None),
        Ok(End::Lost) => {
            parts.metrics.maintenance.ended(run.kind, State::Interrupted);
            return tracing::warn!(run = run.id, kind = %run.kind, "a run of maintenance was silent for too long, and is another's");
        }
        Err(error) => (State::Failed, Some(error.to_string())),
    };
    parts.metrics.maintenance.ended(run.kind, state);
    let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match &error {
        None => tracing::info!(run = run.id, kind = %run.kind, state = state.as_str(), millis, "maintenance ended"),
        Some(error) => tracing::warn!(run = run.id, kind = %run.kind, %error, millis, "maintenance failed"),
    }
    let end = parts.db.end_maintenance(run.id, state, error.as_deref());
    if let Err(error) = around("maintenance end", end).await {
        tracing::warn!(%error, run = run.id, "the end of a run could not be written; it will count as interrupted");
    }
}

async fn work(parts: &Parts, run: &Run, stop: &CancellationToken) -> Result<End, RunError> {
    if run.kind.is_local() {
        return local::work(parts, run, stop).await;
    }
    // Kept for ever.
    if run.older_than.is_none() {
        return Ok(End::Now(State::Done));
    }
    if run.dry_run {
        return count(parts, run, stop).await;
    }
    let mut failures = 0;
    loop {
        if stop.is_cancelled() {
            return Ok(End::Now(State::Stopped));
        }
        let begun = Instant::now();
        let removed = match around("maintenance batch", Box::pin(batch(parts, run))).await {
            Ok(Batch::Some(removed)) => removed,
            Ok(Batch::Last(removed)) => {
                parts.metrics.maintenance.removed(run.kind, removed);
                return Ok(End::Now(State::Done));
            }
            Ok(Batch::Lost) => return Ok(End::Lost),
            Err(error) => {
                failures += 1;
                if failures >= TRIES || !error.is_unavailable() {
                    return Err(error.into());
                }
                tracing::warn!(%error, kind = %run.kind, "a batch of maintenance is tried again");
                pause(AWAY, stop).await;
                continue;
            }
        };
        failures = 0;
        parts.metrics.maintenance.removed(run.kind, removed);
        pause(begun.elapsed().max(PAUSE), stop).await;
    }
}

async fn batch(parts: &Parts, run: &Run) -> Result<Batch, DbError> {
    match run.kind {
        Kind::BuildLines | Kind::Events => parts.db.remove_events(run, &removal(run.kind)).await,
        Kind::Deployments => parts.db.archive_ended(run, &removal(run.kind)).await,
        Kind::Runs => parts.db.remove_maintenance_runs(run, ROWS).await,
        Kind::Workspaces | Kind::Images => Ok(Batch::Last(0)),
    }
}

fn removal(kind: Kind) -> Removal {
    let lines = || LINES.map(EventCode::as_str).map(str::to_owned).to_vec();
    Removal { codes: (kind == Kind::BuildLines).then(lines), batch: ROWS }
}

/// A dry run: the same looks, and nothing is removed.
async fn count(parts: &Parts, run: &Run, stop: &CancellationToken) -> Result<End, RunError> {
    let counted = match run.kind {
        Kind::BuildLines | Kind::Events => {
            let (removal, mut after) = (removal(run.kind), None);
            while let Some((count, last)) = parts.db.count_events(run, &removal, after.take()).await? {
                if !parts.db.renew_maintenance(run.id, count).await? {
                    return Ok(End::Lost);
                }
                if stop.is_cancelled() {
                    return Ok(End::Now(State::Stopped));
                }
                after = Some(last);
            }
            return Ok(End::Now(State::Done));
        }
        Kind::Deployments => parts.db.count_ended(run).await?,
        Kind::Runs => parts.db.count_maintenance_runs(run).await?,
        Kind::Workspaces | Kind::Images => 0,
    };
    Ok(if parts.db.renew_maintenance(run.id, counted).await? { End::Now(State::Done) } else { End::Lost })
}

/// Waits, unless the process is to end.
async fn pause(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}
