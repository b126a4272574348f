//! Stages 3 and 4: the execution's history, read on from the last event that was acted on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::verify_green::ready;
use super::{Context, Outcome, Run, Settings, StepError, Then, VerifyGreen};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::pipeline::{self, Verdict};

/// See the module.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FollowExecution {
    /// The execution.
    pub execution_arn: String,
    /// Whether the last task result that was read is a failure: the exit that follows it is a Catch.
    pub task_failed: bool,
}

impl Run for FollowExecution {
    const NAME: &'static str = "follow_execution";
    const STAGE: u8 = 4;
    const TIMED_OUT: ErrorCode = ErrorCode::FollowTimedOut;

    fn limit(settings: &Settings) -> Duration {
        settings.follow_limit
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        let last = cx.deployment.facts.last_history_event_id.unwrap_or(0);
        let executions = &cx.services.aws.controller().executions;
        let history = executions
            .history_after(&self.execution_arn, last)
            .await
            .map_err(StepError::from_client(ErrorCode::ExecutionUnreadable))?;
        let reading = pipeline::read(&history, &cx.services.names, self.task_failed);
        let mut known = cx.deployment.facts.clone();
        known.merge(reading.learned.clone());
        let mut outcome = match reading.verdict {
            None => Outcome::wait(
                Self { task_failed: reading.task_failed, ..self.clone() },
                cx.services.settings.poll_interval,
                "the execution is under way",
            ),
            Some(Verdict::Failed { code, reason }) => Outcome::new(Then::Failed { code, reason }),
            Some(Verdict::Succeeded) => completed(),
            Some(Verdict::WaitingApproval) => approval(&known, &cx.deployment.id)?,
        };
        outcome.events.splice(0..0, reading.events);
        Ok(outcome.learning(reading.learned))
    }
}

/// Green is up, says the pipeline: check it where its URL is known, else believe it.
fn approval(known: &Facts, deployment_id: &str) -> Result<Outcome, StepError> {
    let Some(code_deploy_deployment_id) = known.code_deploy_deployment_id.clone() else {
        return Err(StepError::fatal(
            ErrorCode::ExecutionOutputInvalid,
            "it waits for approval, but no output had codeDeployDeploymentId, without which the traffic cannot be switched",
        ));
    };
    Ok(match known.green_url.clone() {
        Some(green_url) => Outcome::next(VerifyGreen { green_url, code_deploy_deployment_id }),
        None => ready(known, deployment_id, code_deploy_deployment_id),
    })
}

/// The traffic is on green.
pub(super) fn completed() -> Outcome {
    Outcome::new(Then::Completed)
        .telling(Event::new(EventCode::DeploymentCompleted))
        .telling(Event::new(EventCode::Completed))
        .learning(Facts { final_service: Some("green".to_owned()), ..Facts::default() })
}
