//! The database's part of readiness, checked once for all probes that ask within a short time.
//!
//! `/readyz` needs no authentication and has no rate limit, and the class of probes has one connection. Without this, a client that asks often, or
//! disconnects before the answer, would make the replica appear not ready to its load balancer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::db::{Class, Db, DbError};
use crate::domain::message::{Message, message};
use crate::domain::schema::Fit;
use crate::http::error::server::ServerError;

/// Age up to which a result answers further probes. Shorter than the interval of any load balancer's probes.
const CACHE_TTL: Duration = Duration::from_millis(250);

/// Reason for which the database is not ready; none when it is ready.
type Verdict = Result<(), Reason>;

#[derive(Clone, Debug)]
enum Reason {
    NotReady(Message),
    Internal,
}

impl From<Reason> for ServerError {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::NotReady(reason) => Self::NotReady(reason),
            Reason::Internal => Self::Internal,
        }
    }
}

/// A check in progress, or its result with its time.
type Check = watch::Receiver<Option<(Instant, Verdict)>>;

/// The newest check. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ReadinessCheck(Arc<Mutex<Option<Check>>>);

impl ReadinessCheck {
    /// Reports that the database answers and takes writes, has a schema for this version, and gives the role all privileges.
    ///
    /// # Errors
    /// [`ServerError::NotReady`] with the reason.
    pub async fn check(&self, db: &Db) -> Result<(), ServerError> {
        let mut check = self.newest(db);
        // An error means that the check has panicked.
        let done = check.wait_for(Option::is_some).await.map_err(|_| ServerError::Internal)?;
        done.clone().map_or(Err(ServerError::Internal), |(_, verdict)| verdict.map_err(ServerError::from))
    }

    /// The check in progress, a recent one, or a new one.
    fn newest(&self, db: &Db) -> Check {
        let mut newest = self.0.lock();
        if let Some(check) = newest.as_ref().filter(|check| is_usable(check)) {
            return check.clone();
        }
        let (done, check) = watch::channel(None);
        // A dedicated connection class, so that readiness can be determined under any load.
        let db = db.of(Class::Probe);
        // A separate task: the client that asked may disconnect, and others wait for the result too.
        tokio::spawn(async move {
            let verdict = verdict(&db).await;
            if let Err(Reason::NotReady(reason)) = &verdict {
                tracing::warn!(%reason, "replica not ready");
            }
            let _ = done.send(Some((Instant::now(), verdict)));
        });
        *newest = Some(check.clone());
        check
    }
}

fn is_usable(check: &Check) -> bool {
    match &*check.borrow() {
        Some((at, _)) => at.elapsed() < CACHE_TTL,
        // In progress, unless it has panicked.
        None => check.has_changed().is_ok(),
    }
}

async fn verdict(db: &Db) -> Verdict {
    match db.schema().await {
        Ok(Fit::Fits { .. }) => {}
        Ok(Fit::Behind) => {
            return Err(Reason::NotReady(message!("NOT_READY.schema_behind")));
        }
        Err(DbError::Unusable(cause)) => return Err(Reason::NotReady(cause.message())),
        Err(error @ (DbError::TooNew(_) | DbError::Predecessor(_))) => return Err(Reason::NotReady(error.message())),
        Err(error) => return Err(reason(&error)),
    }
    // A later migration may have added a table without a grant to the role.
    match db.missing_privilege().await {
        Ok(None) => {}
        Ok(Some(missing)) => return Err(Reason::NotReady(Message::verbatim(missing.to_string()))),
        Err(error) => return Err(reason(&error)),
    }
    // The database may answer queries and still reject writes, which every command needs.
    db.trouble().map_or(Ok(()), |trouble| Err(Reason::NotReady(trouble)))
}

fn reason(error: &DbError) -> Reason {
    if error.is_unavailable() {
        tracing::debug!(%error, "readiness cannot be determined");
        return Reason::NotReady(error.message());
    }
    tracing::error!(%error, "readiness check failed at the database");
    Reason::Internal
}
