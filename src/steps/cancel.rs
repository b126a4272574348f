//! A person asked to stop the deployment: what it started outside is stopped, then it is FAILED with CANCELLED.
//!
//! The step that was interrupted is dropped before this one begins, so nothing of ours is under way. What it may have caused outside is
//! looked for, not remembered: an execution that its push started, a `CodeDeploy` deployment that the execution created. Whatever
//! goes wrong here, the deployment ends with CANCELLED, and the reason says what could not be stopped.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::follow_execution::completed;
use super::{ConfirmSwitch, Context, FindExecution, FollowExecution, Outcome, PushImage, Run, StepError, Then};
use crate::clients::aws::{CodeDeployStatus, ExecutionStatus};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::pipeline;

/// Between two looks for an execution that the push may have started.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks that an execution has for handing over the `CodeDeploy` deployment that it is just creating.
const REGISTER_LOOKS: u32 = 30;

/// What the execution says while it creates the `CodeDeploy` deployment.
const REGISTERING: &str = "REGISTER_TASK_IN_PROGRESS";

/// See the module.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Cancel {
    /// Stored name of the step that was interrupted.
    pub during: String,
    /// Its state: another attempt goes on from there.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub state: Value,
    /// Its stage as users see it.
    pub stage: u8,
    /// Looks so far for what may yet appear outside.
    pub looks: u32,
    /// Whether the stop of the `CodeDeploy` deployment was decided: from then on traffic on green is on its way back.
    pub stopping: bool,
}

impl Run for Cancel {
    const NAME: &'static str = "cancel";
    const STAGE: u8 = 4;
    const TIMED_OUT: ErrorCode = ErrorCode::Cancelled;

    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        let begun = Event::new(EventCode::CancelStarted).with("stage", self.stage);
        cx.reporter.tell(begun).await;
        let Some(arn) = &cx.deployment.facts.execution_arn else { return self.find_execution(cx).await };
        let executions = &cx.services.aws.controller().executions;
        let execution = match executions.describe(arn).await {
            Ok(execution) => execution,
            // Gone with its history: nothing of it runs.
            Err(error) if error.kind == ErrorKind::NotFound => return self.stop_code_deploy(cx).await,
            Err(error) => return Err(failed(error)),
        };
        // What happened since the last look: most of all, the deployment in CodeDeploy that is to be stopped.
        let last = cx.deployment.facts.last_history_event_id.unwrap_or(0);
        let history = executions.history_after(arn, last).await.map_err(failed)?;
        let reading = pipeline::read(&history, &cx.services.names, false);
        let mut known = cx.deployment.facts.clone();
        known.merge(reading.learned.clone());
        let running = matches!(execution.status, ExecutionStatus::Running | ExecutionStatus::PendingRedrive);
        let registering = known.polling_state.as_deref() == Some(REGISTERING);
        if running && registering && self.looks < REGISTER_LOOKS {
            // Stopped now, the call that it is making would still create a CodeDeploy deployment, whose id nobody would ever tell us.
            let why = "the execution is creating a CodeDeploy deployment that must be stopped too";
            return Ok(self.look_again(cx, why).learning(reading.learned));
        }
        if running {
            executions.stop(arn, "cancelled by a person").await.map_err(failed)?;
        }
        if known != cx.deployment.facts {
            // Committed first, so that the id of what is to be stopped survives us.
            return Ok(
                Outcome::wait(self.clone(), Duration::ZERO, "the execution is stopped").learning(reading.learned)
            );
        }
        self.stop_code_deploy(cx).await
    }
}

impl Cancel {
    /// A push may have started an execution that nobody has seen yet: it is given the time that it always gets to appear.
    async fn find_execution(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        let pushed_perhaps =
            [PushImage::NAME, FindExecution::NAME, FollowExecution::NAME].contains(&self.during.as_str());
        if !pushed_perhaps {
            return Ok(self.done(cx));
        }
        let (repository, tag) = (&cx.deployment.ecr_repository, &cx.deployment.image_tag());
        let Some(image) = cx.user.ecr.find_image(repository, tag).await.map_err(failed)? else {
            return Ok(self.done(cx));
        };
        let wanted = FindExecution { image_tag: tag.clone(), image_digest: image.digest };
        match wanted.run(cx).await.map_err(as_cancelled)? {
            found @ Outcome { then: Then::Next(_), .. } => {
                let stop = Outcome::wait(self.clone(), Duration::ZERO, "the execution is being stopped");
                Ok(stop.learning(found.learned))
            }
            _ if look_every(cx) * self.looks >= cx.services.settings.execution_wait => Ok(self.done(cx)),
            _ => Ok(self.look_again(cx, "an execution may yet start from the image that was pushed")),
        }
    }

    /// Stops the `CodeDeploy` deployment with a rollback, and waits until it has ended: the stop is only pending when it is answered.
    async fn stop_code_deploy(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        let Some(id) = &cx.deployment.facts.code_deploy_deployment_id else { return Ok(self.done(cx)) };
        let code_deploy = &cx.user.codedeploy;
        let deployment = match code_deploy.deployment(id).await {
            Ok(deployment) => deployment,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(self.done(cx)),
            Err(error) => return Err(failed(error)),
        };
        match deployment.status {
            CodeDeployStatus::Failed | CodeDeployStatus::Stopped => return Ok(self.done(cx)),
            // Too late: the traffic is on green, and blue may be gone.
            CodeDeployStatus::Succeeded => return Ok(completed()),
            _ => {}
        }
        if !self.stopping {
            let lifecycle = code_deploy.lifecycle(id).await.map_err(failed)?;
            if lifecycle.iter().any(|event| event.name == "AllowTraffic" && event.status == "Succeeded") {
                return Ok(completed());
            }
            // Committed before the call: after a crash, traffic that is seen on green is known to be on its way back.
            let stopping = Self { stopping: true, ..self.clone() };
            return Ok(Outcome::wait(stopping, Duration::ZERO, "CodeDeploy is being stopped"));
        }
        match code_deploy.stop_deployment(id, true).await {
            Ok(()) => {}
            // It ended between the look and the call: the next look tells how.
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(Outcome::wait(self.clone(), cx.services.settings.poll_interval, "CodeDeploy is being stopped"))
    }

    fn look_again(&self, cx: &Context<'_>, why: &str) -> Outcome {
        let again = Self { looks: self.looks + 1, ..self.clone() };
        Outcome::wait(again, look_every(cx), why)
    }

    fn done(&self, cx: &Context<'_>) -> Outcome {
        let moving = if self.during == ConfirmSwitch::NAME { ", before the traffic had moved" } else { "" };
        let who = match &cx.deployment.superseded_by {
            Some(newer) => format!("{newer} takes its place; it was cancelled"),
            None => "a person asked for it".to_owned(),
        };
        let reason = format!("{who} during the step {}{moving}", self.during);
        Outcome::new(Then::Failed { code: ErrorCode::Cancelled, reason })
    }
}

/// Time between two looks; shorter where everything outside is polled more often.
fn look_every(cx: &Context<'_>) -> Duration {
    LOOK_EVERY.min(cx.services.settings.poll_interval)
}

/// Whatever cannot be stopped, the deployment was cancelled.
fn failed(error: ClientError) -> StepError {
    StepError::from_client(ErrorCode::Cancelled)(error)
}

/// The same for the error of another step.
fn as_cancelled(error: StepError) -> StepError {
    match error {
        StepError::Retryable { reason, .. } => StepError::Retryable { code: ErrorCode::Cancelled, reason },
        StepError::Fatal { reason, .. } => StepError::Fatal { code: ErrorCode::Cancelled, reason },
    }
}
