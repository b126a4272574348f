//! Cancels a deployment on request: stops everything that it started in AWS, then sets it to FAILED with CANCELLED.
//!
//! The interrupted step is dropped before this one begins, so no other step of the deployment is running. Effects that the step may have caused are
//! looked up in AWS instead of remembered: an execution that its push started, a `CodeDeploy` deployment that the execution created. Whatever fails
//! here, the deployment ends with CANCELLED, and the reason names what could not be stopped.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::follow_execution::completed;
use super::{
    ConfirmSwitch, FindExecution, FollowExecution, PushImage, RunStep, StepContext, StepError, StepOutcome, Transition,
};
use crate::clients::aws::{CodeDeployStatus, ExecutionStatus};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::pipeline;

/// Time between two polls for an execution that the push may have started.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of polls during which an execution may finish registering the `CodeDeploy` deployment that it is creating.
const MAX_REGISTER_POLLS: u32 = 30;

/// Polling state of the execution while it creates the `CodeDeploy` deployment.
const REGISTERING: &str = "REGISTER_TASK_IN_PROGRESS";

/// State of a cancellation.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Cancel {
    /// Stored name of the step that was interrupted.
    pub during: String,
    /// State of the interrupted step: a further attempt resumes from it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub state: Value,
    /// Stage of the interrupted step, as shown to users.
    pub stage: u8,
    /// Polls so far for effects that may still appear in AWS.
    pub looks: u32,
    /// Set once stopping the `CodeDeploy` deployment was decided: from then on, traffic seen on green is being moved back.
    pub stopping: bool,
}

impl RunStep for Cancel {
    const NAME: &'static str = "cancel";
    const STAGE: u8 = 4;
    const TIMED_OUT: ErrorCode = ErrorCode::Cancelled;

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let begun = Event::new(EventCode::CancelStarted).with("stage", self.stage);
        cx.reporter.emit(begun).await;
        let Some(arn) = &cx.deployment.facts.execution_arn else { return self.find_execution(cx).await };
        let executions = &cx.services.aws.controller().executions;
        let execution = match executions.describe(arn).await {
            Ok(execution) => execution,
            // Deleted together with its history: nothing of the execution is running.
            Err(error) if error.kind == ErrorKind::NotFound => return self.stop_code_deploy(cx).await,
            Err(error) => return Err(failed(error)),
        };
        // Events since the last poll, in particular the CodeDeploy deployment that must be stopped.
        let last = cx.deployment.facts.last_history_event_id.unwrap_or(0);
        let history = executions.history_after(arn, last).await.map_err(failed)?;
        let reading = pipeline::interpret(&history, &cx.services.names, false);
        let mut known = cx.deployment.facts.clone();
        known.merge(reading.facts.clone());
        let running = matches!(execution.status, ExecutionStatus::Running | ExecutionStatus::PendingRedrive);
        let registering = known.polling_state.as_deref() == Some(REGISTERING);
        if running && registering && self.looks < MAX_REGISTER_POLLS {
            // Stopped now, the execution's current call would still create a CodeDeploy deployment, whose id would remain unknown.
            let why = "the execution is creating a CodeDeploy deployment that must be stopped too";
            return Ok(self.poll_again(cx, why).with_facts(reading.facts));
        }
        if running {
            executions.stop(arn, "cancelled on request").await.map_err(failed)?;
        }
        if known != cx.deployment.facts {
            // Committed first, so that a crash does not lose the id of the CodeDeploy deployment to stop.
            return Ok(
                StepOutcome::wait(self.clone(), Duration::ZERO, "the execution is stopped").with_facts(reading.facts)
            );
        }
        self.stop_code_deploy(cx).await
    }
}

impl Cancel {
    /// Waits for an execution that the push may have started without having been observed yet, for as long as any execution may take to appear.
    async fn find_execution(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let may_have_pushed =
            [PushImage::NAME, FindExecution::NAME, FollowExecution::NAME].contains(&self.during.as_str());
        if !may_have_pushed {
            return Ok(self.done(cx));
        }
        let (repository, tag) = (&cx.deployment.ecr_repository, &cx.deployment.image_tag());
        let Some(image) = cx.user.ecr.find_image(repository, tag).await.map_err(failed)? else {
            return Ok(self.done(cx));
        };
        let search = FindExecution { image_tag: tag.clone(), image_digest: image.digest };
        match search.run(cx).await.map_err(as_cancelled)? {
            found @ StepOutcome { transition: Transition::Next(_), .. } => {
                let stop = StepOutcome::wait(self.clone(), Duration::ZERO, "the execution is being stopped");
                Ok(stop.with_facts(found.facts))
            }
            _ if poll_interval(cx) * self.looks >= cx.services.settings.execution_wait => Ok(self.done(cx)),
            _ => Ok(self.poll_again(cx, "an execution may still start from the pushed image")),
        }
    }

    /// Stops the `CodeDeploy` deployment with a rollback, and waits until it has ended: the stop is still pending when the call returns.
    async fn stop_code_deploy(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let Some(id) = &cx.deployment.facts.code_deploy_deployment_id else { return Ok(self.done(cx)) };
        let code_deploy = &cx.user.codedeploy;
        let deployment = match code_deploy.deployment(id).await {
            Ok(deployment) => deployment,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(self.done(cx)),
            Err(error) => return Err(failed(error)),
        };
        match deployment.status {
            CodeDeployStatus::Failed | CodeDeployStatus::Stopped => return Ok(self.done(cx)),
            // Too late: the traffic is on green, and blue may be gone already.
            CodeDeployStatus::Succeeded => return Ok(completed()),
            _ => {}
        }
        if !self.stopping {
            let lifecycle = code_deploy.lifecycle(id).await.map_err(failed)?;
            if lifecycle.iter().any(|event| event.name == "AllowTraffic" && event.status == "Succeeded") {
                return Ok(completed());
            }
            // Committed before the call: after a crash, traffic seen on green is then known to be moving back.
            let stopping = Self { stopping: true, ..self.clone() };
            return Ok(StepOutcome::wait(stopping, Duration::ZERO, "CodeDeploy is being stopped"));
        }
        match code_deploy.stop_deployment(id, true).await {
            Ok(()) => {}
            // The deployment ended between the check and the call; the next check reports how.
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(StepOutcome::wait(self.clone(), cx.services.settings.poll_interval, "CodeDeploy is being stopped"))
    }

    fn poll_again(&self, cx: &StepContext<'_>, why: &str) -> StepOutcome {
        let again = Self { looks: self.looks + 1, ..self.clone() };
        StepOutcome::wait(again, poll_interval(cx), why)
    }

    fn done(&self, cx: &StepContext<'_>) -> StepOutcome {
        let moving = if self.during == ConfirmSwitch::NAME { ", before the traffic had moved" } else { "" };
        let cause = match &cx.deployment.superseded_by {
            Some(newer) => format!("superseded by {newer}, cancelled"),
            None => "cancelled on request".to_owned(),
        };
        let reason = format!("{cause} during the step {}{moving}", self.during);
        StepOutcome::new(Transition::Failed { code: ErrorCode::Cancelled, reason })
    }
}

/// Returns the time between two polls; shorter where executions are polled more often.
fn poll_interval(cx: &StepContext<'_>) -> Duration {
    POLL_INTERVAL.min(cx.services.settings.poll_interval)
}

/// Converts a failed call: the code stays CANCELLED, whatever could not be stopped.
fn failed(error: ClientError) -> StepError {
    StepError::from_client(ErrorCode::Cancelled)(error)
}

/// Replaces the code of another step's error by CANCELLED.
fn as_cancelled(error: StepError) -> StepError {
    match error {
        StepError::Retryable { reason, .. } => StepError::Retryable { code: ErrorCode::Cancelled, reason },
        StepError::Fatal { reason, .. } => StepError::Fatal { code: ErrorCode::Cancelled, reason },
    }
}
