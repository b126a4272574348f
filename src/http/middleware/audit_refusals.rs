//! Records refused changes in the audit: the first refusal of a kind immediately, the number of its repetitions a minute later.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use parking_lot::{Mutex, MutexGuard};
use serde_json::json;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::commands::refusals::record_refusals;
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::principal::Caller;
use crate::domain::refusals::{RefusedAction, Tally, WINDOW, Window};
use crate::http::error::problem::Problem;
use crate::http::extract::is_id;

/// Prefixes of the ids that a path may contain.
const ID_PREFIXES: [&str; 8] = ["dep_", "sch_", "gh_", "aws_", "rev_", "tok_", "frz_", "hok_"];

/// Request extension through which authentication passes the caller to [`record_refusal`].
#[derive(Clone, Debug, Default)]
pub struct CallerSlot(Arc<OnceLock<Caller>>);

impl CallerSlot {
    /// Stores the caller; a second call has no effect.
    pub fn set(&self, caller: &Caller) {
        let _ = self.0.set(caller.clone());
    }
}

/// Records a refused change of an authenticated caller; `domain/refusals` bounds the number of rows. Unauthenticated requests are not recorded:
/// audit rows are kept for ever, and anyone could add any number of them.
pub async fn record_refusal(State(refusals): State<RefusalRecorder>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let action = route.and_then(|route| Action::of_request(request.method().as_str(), route));
    let Some(action) = action else { return next.run(request).await };
    let slot = CallerSlot::default();
    request.extensions_mut().insert(slot.clone());
    // /api/v1/deploy/{id}/…, /api/v1/connect/github/{id}, …
    let is_known = |id: &&str| is_id(id) && ID_PREFIXES.iter().any(|prefix| id.starts_with(prefix));
    let target = request.uri().path().split('/').skip(4).find(is_known).map(str::to_owned);
    let response = next.run(request).await;
    let (Some(by), Some(problem)) = (slot.0.get(), response.extensions().get::<Problem>()) else { return response };
    if (400..500).contains(&problem.status) {
        let details = json!({"status": problem.status, "message": problem.detail});
        refusals
            .record(RefusedAction { by: by.clone(), action, target, code: Some(problem.error_code), details })
            .await;
    }
    response
}

/// Maximum number of rows kept while the database is unavailable; the oldest beyond it are dropped.
const MAX_PENDING: usize = 1_000;

/// Writes refusals, or calls of tools, to the audit. Cheap to clone. A crash loses the counts not written yet: at most the repetitions of one minute.
#[derive(Clone, Debug)]
pub struct RefusalRecorder {
    db: Db,
    window: Arc<Mutex<Window>>,
    shutdown: CancellationToken,
}

impl RefusalRecorder {
    /// Spawns the task that writes the counts every minute, and once more at `shutdown`.
    pub fn start(db: Db, shutdown: CancellationToken) -> Self {
        let recorder = Self { db, window: Arc::default(), shutdown };
        tokio::spawn(recorder.clone().run());
        recorder
    }

    /// Records a refusal. A database failure is logged and does not change the response.
    pub async fn record(&self, refusal: RefusedAction) {
        // The task has ended after shutdown and writes no counts, so the row is written directly.
        let counts = !self.shutdown.is_cancelled();
        let row = if counts { self.window().add(refusal, Instant::now()) } else { Some(refusal) };
        let Some(row) = row else { return };
        let at = Instant::now();
        let tally = Tally { last: row, several_callers: false, times: 1, first_at: at, last_at: at };
        if let Err(error) = record_refusals(&self.db, std::slice::from_ref(&tally)).await {
            warn(&error);
        }
    }

    async fn run(self) {
        let mut ticks = tokio::time::interval(WINDOW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pending = Vec::new();
        while !self.shutdown.is_cancelled() {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.shutdown.cancelled() => {}
            }
            pending.extend(self.window().take());
            if pending.is_empty() {
                continue;
            }
            match record_refusals(&self.db, &pending).await {
                Ok(()) => pending.clear(),
                Err(error) => {
                    warn(&error);
                    let dropped = pending.len().saturating_sub(MAX_PENDING);
                    if dropped > 0 {
                        tracing::warn!(dropped, "rows of repeated refusals dropped, the database is unavailable");
                    }
                    pending.drain(..dropped);
                }
            }
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock()
    }
}

fn warn(error: &DbError) {
    if error.is_unavailable() {
        tracing::warn!(%error, "refusals not recorded in the audit");
    } else {
        tracing::error!(%error, "refusals not recorded in the audit");
    }
}
