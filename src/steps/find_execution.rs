//! Stage 3, first part: finds the execution that the push started.
//!
//! The secret serves as a mailbox: until the pipeline writes to it, it contains the ARN of an earlier execution. The execution belongs to this
//! deployment if its input contains the deployment's digest or tag; both are unique to this deployment.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::latest_execution::{LatestExecution, secret_of};
use super::missing_link::missing_link;
use super::{FollowExecution, RunStep, Settings, StepContext, StepError, StepOutcome};
use crate::domain::deployment::Facts;
use crate::domain::execution_input::names_image;
use crate::domain::failure::ErrorCode;

/// Time between two polls: the ARN appears within a second or two, and the time limit is ten seconds.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Step Functions and ECR have different clocks: an execution that started this long before the push belongs to another deployment.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// State of the search for the execution.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FindExecution {
    /// Tag of the pushed image.
    pub image_tag: String,
    /// Digest of the pushed image.
    pub image_digest: String,
}

impl RunStep for FindExecution {
    const NAME: &'static str = "find_execution";
    const STAGE: u8 = 3;
    const TIMED_OUT: ErrorCode = ErrorCode::ExecutionNotFound;

    fn limit(settings: &Settings) -> Duration {
        settings.execution_wait
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let failed = StepError::from_client(ErrorCode::ExecutionUnreadable);
        let again = |why: String| {
            Ok(StepOutcome::wait(self.clone(), POLL_INTERVAL.min(cx.services.settings.poll_interval), why))
        };
        let secret = secret_of(cx);
        let execution = match LatestExecution::read(cx).await.map_err(failed)? {
            LatestExecution::NoSecret => return again(format!("secret {secret} does not exist yet")),
            LatestExecution::NoArn => return again(format!("secret {secret} holds no execution ARN")),
            LatestExecution::Gone(arn) => return again(format!("execution {arn} does not exist (any more)")),
            LatestExecution::Named(execution) => execution,
        };
        let ours = execution
            .input
            .as_deref()
            .is_some_and(|input| names_image(input, &self.image_tag, &self.image_digest, cx.deployment.attempt));
        let in_time =
            cx.deployment.facts.image_pushed_at.is_none_or(|pushed| execution.started_at + CLOCK_TOLERANCE >= pushed);
        if !(ours && in_time) {
            return again(format!("secret {secret} still names the execution of another image"));
        }
        let arn = execution.arn;
        Ok(StepOutcome::next(FollowExecution::new(arn.clone()))
            .with_facts(Facts { execution_arn: Some(arn), ..Facts::default() }))
    }

    async fn timeout_cause(&self, cx: &StepContext<'_>) -> Option<String> {
        Some(missing_link(cx, &self.image_tag, &self.image_digest).await)
    }
}
