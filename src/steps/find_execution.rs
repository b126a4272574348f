//! Stage 3, first part: finds the execution that the push started.
//!
//! The secret serves as a mailbox: until the pipeline writes to it, it contains the ARN of an earlier execution. The execution belongs to this
//! deployment if its input contains the deployment's digest or tag; both are unique to this deployment.
//!
//! A further attempt gives the image of an earlier one a new tag. It is not proven that ECR reports that as a push: if no execution appears within the
//! limit, the image is pushed again with another manifest (decision 0060), and the search begins again.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::latest_execution::{LatestExecution, secret_of};
use super::missing_link::missing_link;
use super::{FollowExecution, PushImage, RunStep, Settings, StepContext, StepError, StepOutcome};
use crate::clients::aws::Priority;
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::execution_input::names_image;
use crate::domain::failure::ErrorCode;
use crate::domain::message::{Message, message};
use crate::domain::reason::Reason;

/// Time between two polls: the ARN appears within a second or two, and the time limit is ten seconds.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Step Functions and ECR have different clocks: an execution that started this long before the push belongs to another deployment.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// State of the search for the execution.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct FindExecution {
    /// Tag of the attempt's image.
    pub image_tag: String,
    /// Digest of the pushed image.
    pub image_digest: String,
    /// Set when the image was in ECR already, and only its tag may be new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub existing: bool,
    /// Set when the image was pushed again with another manifest: its digest is unique.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

impl RunStep for FindExecution {
    const NAME: &'static str = "find_execution";
    const STAGE: u8 = 3;
    const PRIORITY: Priority = Priority::Urgent;
    const TIMED_OUT: ErrorCode = ErrorCode::ExecutionNotFound;

    fn limit(settings: &Settings) -> Duration {
        settings.execution_wait
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let failed = StepError::from_client(ErrorCode::ExecutionUnreadable);
        let again = |why: Message| {
            Ok(StepOutcome::wait(self.clone(), POLL_INTERVAL.min(cx.services.settings.poll_interval), why))
        };
        let secret = secret_of(cx);
        let execution = match LatestExecution::read(cx).await.map_err(failed)? {
            LatestExecution::NoSecret => return again(message!("wait.no_secret", secret)),
            LatestExecution::NoArn => return again(message!("wait.no_arn", secret)),
            LatestExecution::Gone(arn) => return again(message!("wait.execution_gone", arn)),
            LatestExecution::Named(execution) => execution,
        };
        let unique = cx.deployment.attempt <= 1 || self.again;
        let input = execution.input.as_deref();
        let ours = input.is_some_and(|input| names_image(input, &self.image_tag, &self.image_digest, unique));
        let in_time =
            cx.deployment.facts.image_pushed_at.is_none_or(|pushed| execution.started_at + CLOCK_TOLERANCE >= pushed);
        if !(ours && in_time) {
            return again(message!("wait.other_image", secret));
        }
        let arn = execution.arn;
        Ok(StepOutcome::next(FollowExecution::new(arn.clone()))
            .with_facts(Facts { execution_arn: Some(arn), ..Facts::default() }))
    }

    /// The new tag of an existing image may have raised no event: a push of another manifest does.
    fn after_limit(&self, last_error: Option<ErrorCode>) -> Option<StepOutcome> {
        let again = PushImage { again: true, ..PushImage::default() };
        // After an error an execution may exist that could not be read.
        (self.existing && last_error.is_none())
            .then(|| StepOutcome::next(again).with_event(Event::new(EventCode::PushRepeated)))
    }

    async fn timeout_cause(&self, cx: &StepContext<'_>) -> Option<Reason> {
        let unique = cx.deployment.attempt <= 1 || self.again;
        Some(missing_link(cx, &self.image_tag, &self.image_digest, unique).await.into())
    }
}
