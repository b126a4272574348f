//! What each replica does now and then for all: turns that were not given, deployments that no replica advances, another log filter, sequences; and for
//! itself, whether the database stores new rows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::limits::{OVERDUE_IS_NEWS, OVERDUE_NEWS_EVERY, UPKEEP};
use super::log::Log;
use crate::db::Db;
use crate::db::overdue::Overdue;
use crate::domain::news::News;
use crate::metrics::Metrics;
use crate::steps::{Settings, Step};

/// What keeps it from looking.
static LOOKING: News = News::new();

/// Looks until `stop`; for a log filter also when one was `asked` for.
pub(super) async fn run(db: Db, settings: Settings, metrics: Metrics, asked: Arc<Notify>, stop: CancellationToken) {
    let limits: Vec<(String, Duration)> = Step::limits(&settings);
    let heavy = Step::heavy_names();
    let mut said: Option<Instant> = None;
    let mut log = Log::default();
    let mut ticks = tokio::time::interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let only_log = tokio::select! {
            _ = ticks.tick() => false,
            () = asked.notified() => true,
            () = log.over() => true,
            () = stop.cancelled() => return,
        };
        if only_log {
            let found = db.log_filter().await;
            log.follow(found.as_ref().map(Clone::clone));
            continue;
        }
        match db.state_of_all(&heavy).await {
            Ok((counts, set)) => {
                metrics.reconcile.set_unfinished(counts);
                log.follow(Ok(set));
            }
            Err(error) => {
                tracing::debug!(%error, "unfinished deployments could not be counted");
                log.follow(Err(&error));
            }
        }
        db.probe_writes().await;
        advance_sequences(&db).await;
        super::turns::give(&db).await;
        match db.most_overdue(&limits).await {
            Ok(overdue) => {
                metrics.reconcile.set_oldest_overdue(overdue.as_ref().map_or(Duration::ZERO, |overdue| overdue.since));
                let news = overdue.filter(|overdue| overdue.since >= OVERDUE_IS_NEWS);
                if let Some(overdue) = news
                    && said.is_none_or(|said| said.elapsed() >= OVERDUE_NEWS_EVERY)
                {
                    said = Some(Instant::now());
                    say(&overdue);
                }
            }
            Err(error) if LOOKING.are(&error) => {
                tracing::warn!(%error, "could not look for deployments that nobody advances");
            }
            Err(_) => {}
        }
    }
}

/// A standby that was promoted under this process may have rows and no sequences.
async fn advance_sequences(db: &Db) {
    match db.advance_sequences().await {
        Ok(sequences) => {
            for sequence in sequences {
                tracing::warn!(sequence, "the sequence was behind the rows of its table; it continues behind them");
            }
        }
        Err(error) => tracing::debug!(%error, "sequences could not be checked"),
    }
}

fn say(overdue: &Overdue) {
    let (deployment, step, seconds) = (overdue.id.as_str(), overdue.step.as_str(), overdue.since.as_secs());
    let holder = overdue.replica.as_deref().unwrap_or("none");
    let reason = if overdue.replica.is_some() {
        "its replica lives and does not advance it"
    } else {
        "no replica has it: is there one with room and a build permit?"
    };
    tracing::warn!(deployment, step, seconds, holder, reason, "a deployment is left alone");
}
