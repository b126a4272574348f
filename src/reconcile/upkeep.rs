//! What any replica does now and then for all: turns that nobody gave, deployments that nobody advances.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::limits::{OVERDUE_IS_NEWS, OVERDUE_NEWS_EVERY, UPKEEP};
use crate::db::Db;
use crate::db::overdue::Overdue;
use crate::domain::news::News;
use crate::metrics::Metrics;
use crate::steps::{Settings, Step};

/// What keeps it from looking.
static LOOKING: News = News::new();

/// Looks until `stop`.
pub(super) async fn run(db: Db, settings: Settings, metrics: Metrics, stop: CancellationToken) {
    let limits: Vec<(String, Duration)> = Step::limits(&settings);
    let heavy = Step::heavy_names();
    let mut said: Option<Instant> = None;
    let mut ticks = tokio::time::interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        super::turns::give(&db).await;
        match db.unfinished(&heavy).await {
            Ok(counts) => metrics.reconcile.set_unfinished(counts),
            Err(error) => tracing::debug!(%error, "unfinished deployments could not be counted"),
        }
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
