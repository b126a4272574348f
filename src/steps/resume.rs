//! Another attempt of a deployment that failed: finds out where to go on, from what the attempt before has left outside.
//!
//! Before the push it goes on where it failed. After the push there are three cases, decided by what still lives:
//!
//! - the execution still runs, or `CodeDeploy`'s deployment is still there to be switched: it goes on at the step that failed;
//! - there is nothing to go on with: `CodeDeploy` is rid of what is left (it takes one deployment of a group at a time), and the image that
//!   was pushed is given this attempt's tag, which starts the pipeline again without a build;
//! - the image is gone as well: it is built again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ecr_repository::ecr_error;
use super::grant_event_bus::begin;
use super::verify_green::ready;
use super::{
    AwaitSwitch, BuildImage, Cancel, ConfirmSwitch, Context, EnsureEventRule, FetchSource, FindExecution,
    FollowExecution, GrantEventBus, Outcome, PushImage, Run, Step, StepError, SwitchTraffic, Then, VerifyGreen,
};
use crate::clients::ErrorKind;
use crate::clients::aws::{CodeDeployStatus, ExecutionStatus};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::source::Source;

/// See the module. The API writes this state, from the row of the attempt before (`db::wishes`).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Resume {
    /// Stored name of the step that failed.
    pub step: String,
    /// Its state.
    pub state: Value,
    /// What was known of the pipeline.
    pub past: Box<Past>,
}

/// What an attempt knew of its pipeline.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct Past {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_history_event_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_definition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blue_service_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub green_service_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blue_target_group_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub green_target_group_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blue_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub green_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_deploy_deployment_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_deploy_application_name: Option<String>,
}

impl Run for Resume {
    const NAME: &'static str = "resume";
    const STAGE: u8 = 1;

    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        let (step, state) = self.failed_step();
        let begun =
            Event::new(EventCode::RetryStarted).with("attempt", cx.deployment.attempt).with("step", step.as_str());
        cx.reporter.tell(begun).await;
        match step.as_str() {
            // Upserts both, and the second follows from the first.
            EnsureEventRule::NAME | GrantEventBus::NAME => Ok(Outcome::next(EnsureEventRule::default())),
            // The workspace was removed with the failure; the newest commit may be the one that mends it.
            FetchSource::NAME | BuildImage::NAME => Ok(Outcome::next(begin(cx))),
            PushImage::NAME => Ok(push_again(cx)),
            _ => self.after_the_push(cx, &step, &state).await,
        }
    }
}

impl Resume {
    /// The step that failed; of a cancelled attempt, the one that was interrupted.
    fn failed_step(&self) -> (String, Value) {
        match serde_json::from_value::<Cancel>(self.state.clone()) {
            Ok(cancel) if self.step == Cancel::NAME => (cancel.during, cancel.state),
            _ => (self.step.clone(), self.state.clone()),
        }
    }

    async fn after_the_push(&self, cx: &Context<'_>, step: &str, state: &Value) -> Result<Outcome, StepError> {
        let Some(arn) = &self.past.execution_arn else { return self.look_for_the_execution(cx).await };
        let unreadable = StepError::from_client(ErrorCode::ExecutionUnreadable);
        let status = match cx.services.aws.controller().executions.describe(arn).await {
            Ok(execution) => Some(execution.status),
            // Gone with its history.
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(error)),
        };
        let lives = matches!(
            status,
            Some(ExecutionStatus::Running | ExecutionStatus::PendingRedrive | ExecutionStatus::Succeeded)
        );
        // What was read of the history was acted on: only what comes after it counts for this attempt.
        if lives && [FindExecution::NAME, FollowExecution::NAME].contains(&step) {
            let task_failed = state.get("task_failed").and_then(Value::as_bool).unwrap_or(false);
            let follow = FollowExecution { execution_arn: arn.clone(), task_failed };
            return Ok(Outcome::next(follow).learning(self.past.facts()));
        }
        let go_on = match step {
            // Its events belong to this attempt as well: a person has to be told again that it is their turn.
            VerifyGreen::NAME | AwaitSwitch::NAME => self.verify(cx),
            SwitchTraffic::NAME | ConfirmSwitch::NAME => {
                Step::parse(step, state).ok().map(|step| Outcome::new(Then::Next(step)))
            }
            _ => None,
        };
        self.code_deploy(cx, go_on).await
    }

    /// It was not found in time, which does not mean that it is not there.
    async fn look_for_the_execution(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        for tag in cx.deployment.earlier_image_tags() {
            let repository = &cx.deployment.ecr_repository;
            let found = cx.user.ecr.find_image(repository, &tag).await;
            let Some(image) = found.map_err(ecr_error)? else { continue };
            let wanted = FindExecution { image_tag: tag, image_digest: image.digest };
            if let found @ Outcome { then: Then::Next(_), .. } = wanted.run(cx).await? {
                return Ok(found);
            }
            break;
        }
        Ok(push_again(cx))
    }

    /// Green is checked again, where its URL is known.
    fn verify(&self, cx: &Context<'_>) -> Option<Outcome> {
        let code_deploy_deployment_id = self.past.code_deploy_deployment_id.clone()?;
        Some(match self.past.green_url.clone() {
            Some(green_url) => Outcome::next(VerifyGreen { green_url, code_deploy_deployment_id }),
            None => ready(&self.past.facts(), &cx.deployment.id, code_deploy_deployment_id),
        })
    }

    /// Goes on with what waits in `CodeDeploy` where a step can; otherwise has it stopped, and begins again from the push.
    async fn code_deploy(&self, cx: &Context<'_>, go_on: Option<Outcome>) -> Result<Outcome, StepError> {
        let Some(id) = &self.past.code_deploy_deployment_id else { return Ok(push_again(cx)) };
        let failed = StepError::from_client(ErrorCode::SwitchFailed);
        let code_deploy = &cx.user.codedeploy;
        let status = match code_deploy.deployment(id).await {
            Ok(deployment) => deployment.status,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(push_again(cx)),
            Err(error) => return Err(failed(error)),
        };
        if matches!(status, CodeDeployStatus::Failed | CodeDeployStatus::Stopped) {
            return Ok(push_again(cx));
        }
        if let Some(outcome) = go_on {
            return Ok(outcome.learning(self.past.facts()));
        }
        if status == CodeDeployStatus::Succeeded {
            return Ok(push_again(cx));
        }
        match code_deploy.stop_deployment(id, true).await {
            Ok(()) => {}
            // It ended between the look and the call: the next look tells how.
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(error) => return Err(failed(error)),
        }
        let why = "CodeDeploy is stopping the deployment of the attempt before";
        Ok(Outcome::wait(self.clone(), cx.services.settings.poll_interval.min(Duration::from_secs(2)), why))
    }
}

/// The image of an attempt before, in ECR or in the engine, with this attempt's tag.
fn push_again(cx: &Context<'_>) -> Outcome {
    // An image that was in ECR before: published again, since a new tag alone may not be told as a push.
    if matches!(cx.deployment.requested.source, Source::Image(_)) {
        return Outcome::next(begin(cx));
    }
    let newest = cx.deployment.earlier_image_tags().next().unwrap_or_else(|| cx.deployment.image_tag());
    let image = format!("{}:{newest}", cx.deployment.ecr_repository);
    Outcome::next(PushImage { image, reuse: true, ..PushImage::default() })
}

impl Past {
    fn facts(&self) -> Facts {
        let past = self.clone();
        Facts {
            execution_arn: past.execution_arn,
            last_history_event_id: past.last_history_event_id,
            polling_state: past.polling_state,
            cluster_name: past.cluster_name,
            service_name: past.service_name,
            task_definition: past.task_definition,
            blue_service_arn: past.blue_service_arn,
            green_service_arn: past.green_service_arn,
            blue_target_group_arn: past.blue_target_group_arn,
            green_target_group_arn: past.green_target_group_arn,
            blue_url: past.blue_url,
            green_url: past.green_url,
            code_deploy_deployment_id: past.code_deploy_deployment_id,
            code_deploy_application_name: past.code_deploy_application_name,
            ..Facts::default()
        }
    }
}
