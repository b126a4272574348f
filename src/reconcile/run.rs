//! One run of a step: committing what it tells while it works, stopping it when its time or ours is up.

use std::sync::OnceLock;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::driver::Driver;
use super::limits::{DRAIN, PROGRESS_BATCH, PROGRESS_CAPACITY};
use crate::clients::aws::UserAws;
use crate::db::DbError;
use crate::domain::mask::Mask;
use crate::domain::{AwsConnection, Deployment, GithubConnection};
use crate::steps::{Context, Lane, Outcome, Reporter, Step, StepError};

/// How a run ended.
pub(super) enum Ran {
    /// With an outcome to commit.
    Outcome(Box<Outcome>),
    /// With an error.
    Error(StepError),
    /// The step's time was up.
    TimeUp,
    /// A commit in the middle found that the deployment is another's.
    OwnershipLost,
    /// The process is shutting down.
    Stopped,
    /// A person wishes to cancel the deployment.
    Unwanted,
}

impl Driver {
    /// Runs `step` once. Dropping this future stops the step.
    pub(super) async fn run(
        &self,
        deployment: &mut Deployment,
        step: &Step,
        deadline: Option<Instant>,
        connections: &(GithubConnection, AwsConnection),
        user: &UserAws,
    ) -> Result<Ran, DbError> {
        // Cancelled when this future ends or is dropped, for what runs on threads of its own.
        let stopped = CancellationToken::new();
        let _guard = stopped.clone().drop_guard();
        let (reporter, mut told) = Reporter::new(PROGRESS_CAPACITY);
        // The step sees the row as it was when it began; commits in the middle change the version in ours.
        let seen = deployment.clone();
        let (github, aws) = connections;
        // Made when first needed: most looks at an execution bring nothing to tell.
        let mask = OnceLock::new();
        let mask = || mask.get_or_init(|| Mask::of(aws.credentials.secrets().into_iter().chain(&github.secrets())));
        let context = Context {
            deployment: &seen,
            github,
            user,
            services: &self.services,
            reporter: &reporter,
            stopped: &stopped,
        };
        let running = step.run(&context);
        tokio::pin!(running);
        let mut batch = Vec::new();
        let ended = loop {
            tokio::select! {
                biased;
                received = told.recv_many(&mut batch, PROGRESS_BATCH) => {
                    if received > 0 {
                        mask().events(&mut batch);
                        if !self.commit_progress(deployment, std::mem::take(&mut batch)).await? {
                            return Ok(Ran::OwnershipLost);
                        }
                    }
                }
                ended = &mut running => break ended,
                () = until(deadline) => return Ok(Ran::TimeUp),
                () = self.drained(step.lane()) => return Ok(Ran::Stopped),
                () = self.unwanted(Some(step)) => return Ok(Ran::Unwanted),
            }
        };
        // What was told last and not yet received: it comes before the outcome's own events.
        while let Ok(event) = told.try_recv() {
            batch.push(event);
        }
        if !batch.is_empty() {
            mask().events(&mut batch);
            if !self.commit_progress(deployment, batch).await? {
                return Ok(Ran::OwnershipLost);
            }
        }
        Ok(match ended {
            Ok(outcome) if outcome.is_quiet(seen.waiting_for.as_deref()) => Ran::Outcome(Box::new(outcome)),
            Ok(outcome) => Ran::Outcome(Box::new(outcome.masked(mask()))),
            Err(error) => Ran::Error(error.masked(mask())),
        })
    }

    /// Ends when a step of this lane has to stop for the shutdown: long ones at once, short ones after a grace.
    async fn drained(&self, lane: Lane) {
        self.stop.cancelled().await;
        if lane == Lane::Light {
            tokio::time::sleep(DRAIN).await;
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
