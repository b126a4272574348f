//! Stages 3 and 4: follows the execution's history from the last processed event.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::verify_green::ready;
use super::{RunStep, Settings, StepContext, StepError, StepOutcome, Transition, VerifyGreen};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::pipeline::{self, Verdict};

/// State of following an execution.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FollowExecution {
    /// ARN of the followed execution.
    pub execution_arn: String,
    /// Set when the last task result is a failure: the state exit that follows it is a Catch.
    pub task_failed: bool,
}

impl RunStep for FollowExecution {
    const NAME: &'static str = "follow_execution";
    const STAGE: u8 = 4;
    const TIMED_OUT: ErrorCode = ErrorCode::FollowTimedOut;

    fn limit(settings: &Settings) -> Duration {
        settings.follow_limit
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let last = cx.deployment.facts.last_history_event_id.unwrap_or(0);
        let executions = &cx.services.aws.controller().executions;
        let history = executions
            .history_after(&self.execution_arn, last)
            .await
            .map_err(StepError::from_client(ErrorCode::ExecutionUnreadable))?;
        let reading = pipeline::interpret(&history, &cx.services.names, self.task_failed);
        let mut known = cx.deployment.facts.clone();
        known.merge(reading.facts.clone());
        let mut outcome = match reading.verdict {
            None => StepOutcome::wait(
                Self { task_failed: reading.task_failed, ..self.clone() },
                cx.services.settings.poll_interval,
                "the execution is running",
            ),
            Some(Verdict::Failed { code, reason }) => StepOutcome::new(Transition::Failed { code, reason }),
            Some(Verdict::Succeeded) => completed(),
            Some(Verdict::WaitingApproval) => approval(&known, &cx.deployment.id)?,
        };
        outcome.events.splice(0..0, reading.events);
        Ok(outcome.with_facts(reading.facts))
    }
}

/// The pipeline reports that green is up: health checks follow if its URL is known; otherwise the report is trusted.
fn approval(known: &Facts, deployment_id: &str) -> Result<StepOutcome, StepError> {
    let Some(code_deploy_deployment_id) = known.code_deploy_deployment_id.clone() else {
        return Err(StepError::fatal(
            ErrorCode::ExecutionOutputInvalid,
            "the execution waits for approval, but none of its outputs had codeDeployDeploymentId, which the traffic switch needs",
        ));
    };
    Ok(match known.green_url.clone() {
        Some(green_url) => StepOutcome::next(VerifyGreen { green_url, code_deploy_deployment_id }),
        None => ready(known, deployment_id, code_deploy_deployment_id),
    })
}

/// Ends the deployment: the traffic is on green.
pub(super) fn completed() -> StepOutcome {
    StepOutcome::new(Transition::Completed)
        .with_event(Event::new(EventCode::DeploymentCompleted))
        .with_event(Event::new(EventCode::Completed))
        .with_facts(Facts { final_service: Some("green".to_owned()), ..Facts::default() })
}
