//! `CodeDeploy`: blue/green deployments, and the traffic switch.

use aws_config::SdkConfig;
use aws_sdk_codedeploy::{
    Client,
    error::ProvideErrorMetadata as _,
    types::{self, DeploymentStatus, DeploymentWaitType, TrafficRoutingType},
};

use super::client;
use super::error::{failed, incomplete};
use super::observer::CallObserver;
use crate::clients::ClientError;
use crate::domain::traffic_shift::TrafficShift;

/// Code with which CodeDeploy answers calls about the targets of a deployment that is created or queued.
const NOT_STARTED: &str = "DeploymentNotStartedException";

/// Status of a `CodeDeploy` deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeDeployStatus {
    /// Created, not started yet.
    Created,
    /// Waiting in CodeDeploy's queue.
    Queued,
    /// The deployment is running.
    InProgress,
    /// The new version runs and is under observation for a while.
    Baking,
    /// Finished, including the termination wait for the old version.
    Succeeded,
    /// Failed; a rollback is a separate deployment.
    Failed,
    /// Stopped by a StopDeployment call.
    Stopped,
    /// Green is up and waits for traffic.
    Ready,
    /// Any other status, by its name in the API.
    Unknown(String),
}

/// State of a `CodeDeploy` deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeDeployment {
    /// Deployment id in CodeDeploy, `d-…`.
    pub id: String,
    /// Name of the application; `None` if the response lacks it.
    pub application: Option<String>,
    /// Name of the deployment configuration, which decides how long the traffic shifts; `None` if the response lacks it.
    pub configuration: Option<String>,
    /// Current status of the deployment.
    pub status: CodeDeployStatus,
    /// Reason why it failed or was stopped: the service's message and code.
    pub error: Option<String>,
}

/// One life-cycle step of a deployment target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleEvent {
    /// Name, such as `AllowTraffic`.
    pub name: String,
    /// `Pending`, `InProgress`, `Succeeded`, `Failed`, `Skipped` or `Unknown`.
    pub status: String,
}

/// `CodeDeploy` client for a user's account.
#[derive(Clone)]
pub struct CodeDeploy {
    client: Client,
}

impl CodeDeploy {
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver) -> Self {
        Self { client: client!(aws_sdk_codedeploy, config, observe) }
    }

    /// Fetches the state of the deployment.
    pub async fn deployment(&self, id: &str) -> Result<CodeDeployment, ClientError> {
        const CALL: &str = "codedeploy:GetDeployment";
        let answer = self.client.get_deployment().deployment_id(id).send().await;
        let answer = answer.map_err(|error| failed(CALL, &error))?;
        let info = answer.deployment_info.ok_or_else(|| incomplete(CALL, "deployment"))?;
        Ok(CodeDeployment {
            id: id.to_owned(),
            application: info.application_name,
            configuration: info.deployment_config_name,
            status: status(&info.status.ok_or_else(|| incomplete(CALL, "status"))?),
            error: info.error_information.and_then(|error| match (error.message, error.code) {
                (Some(message), Some(code)) => Some(format!("{message} ({})", code.as_str())),
                (message, code) => message.or_else(|| code.map(|code| code.as_str().to_owned())),
            }),
        })
    }

    /// Lets the waiting deployment shift its traffic. Not idempotent: in case of doubt, fetch the deployment again first.
    pub async fn continue_deployment(&self, id: &str) -> Result<(), ClientError> {
        // The wait type is always given: without it, AWS assumes READY_WAIT for some deployments and refuses others.
        let request = self.client.continue_deployment().deployment_id(id);
        let sent = request.deployment_wait_type(DeploymentWaitType::ReadyWait).send().await;
        sent.map(drop).map_err(|error| failed("codedeploy:ContinueDeployment", &error))
    }

    /// Fetches how a deployment configuration shifts the traffic.
    pub async fn traffic_shift(&self, configuration: &str) -> Result<TrafficShift, ClientError> {
        const CALL: &str = "codedeploy:GetDeploymentConfig";
        if let Some(known) = TrafficShift::predefined(configuration) {
            return Ok(known);
        }
        let answer = self.client.get_deployment_config().deployment_config_name(configuration).send().await;
        let answer = answer.map_err(|error| failed(CALL, &error))?;
        let info = answer.deployment_config_info.ok_or_else(|| incomplete(CALL, "configuration"))?;
        // Without a routing, as for servers, all traffic moves in one step.
        let Some(routing) = info.traffic_routing_config else { return Ok(TrafficShift::AllAtOnce) };
        Ok(match (routing.r#type, routing.time_based_canary, routing.time_based_linear) {
            (Some(TrafficRoutingType::TimeBasedCanary), Some(canary), _) => {
                TrafficShift::Canary { interval_minutes: canary.canary_interval }
            }
            (Some(TrafficRoutingType::TimeBasedLinear), _, Some(linear)) => {
                TrafficShift::Linear { percentage: linear.linear_percentage, interval_minutes: linear.linear_interval }
            }
            (Some(TrafficRoutingType::AllAtOnce) | None, ..) => TrafficShift::AllAtOnce,
            _ => return Err(incomplete(CALL, "known traffic routing")),
        })
    }

    /// Fetches the life-cycle events of the deployment's ECS target; empty while there is no target, as for a deployment that is created or queued.
    pub async fn lifecycle(&self, id: &str) -> Result<Vec<LifecycleEvent>, ClientError> {
        const LIST: &str = "codedeploy:ListDeploymentTargets";
        const GET: &str = "codedeploy:BatchGetDeploymentTargets";
        // An ECS deployment has exactly one target, so there is no second page.
        let listed = self.client.list_deployment_targets().deployment_id(id).send().await;
        let ids = match listed {
            Ok(listed) => listed.target_ids.unwrap_or_default(),
            Err(error) if error.code() == Some(NOT_STARTED) => return Ok(Vec::new()),
            Err(error) => return Err(failed(LIST, &error)),
        };
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let targets =
            self.client.batch_get_deployment_targets().deployment_id(id).set_target_ids(Some(ids)).send().await;
        let targets = match targets {
            Ok(targets) => targets.deployment_targets.unwrap_or_default(),
            Err(error) if error.code() == Some(NOT_STARTED) => return Ok(Vec::new()),
            Err(error) => return Err(failed(GET, &error)),
        };
        let events = targets.into_iter().filter_map(|target| target.ecs_target?.lifecycle_events).flatten();
        Ok(events.filter_map(lifecycle_event).collect())
    }

    /// Stops the deployment, with a rollback (a new deployment) or without. The stop may still be pending on return.
    pub async fn stop_deployment(&self, id: &str, rollback: bool) -> Result<(), ClientError> {
        let request = self.client.stop_deployment().deployment_id(id).auto_rollback_enabled(rollback);
        request.send().await.map(drop).map_err(|error| failed("codedeploy:StopDeployment", &error))
    }
}

fn lifecycle_event(event: types::LifecycleEvent) -> Option<LifecycleEvent> {
    Some(LifecycleEvent {
        name: event.lifecycle_event_name?,
        status: event.status.map_or_else(|| "Unknown".to_owned(), |status| status.as_str().to_owned()),
    })
}

fn status(status: &DeploymentStatus) -> CodeDeployStatus {
    match status {
        DeploymentStatus::Created => CodeDeployStatus::Created,
        DeploymentStatus::Queued => CodeDeployStatus::Queued,
        DeploymentStatus::InProgress => CodeDeployStatus::InProgress,
        DeploymentStatus::Baking => CodeDeployStatus::Baking,
        DeploymentStatus::Succeeded => CodeDeployStatus::Succeeded,
        DeploymentStatus::Failed => CodeDeployStatus::Failed,
        DeploymentStatus::Stopped => CodeDeployStatus::Stopped,
        DeploymentStatus::Ready => CodeDeployStatus::Ready,
        other => CodeDeployStatus::Unknown(other.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_all_statuses() {
        for name in DeploymentStatus::values() {
            assert!(!matches!(status(&DeploymentStatus::from(*name)), CodeDeployStatus::Unknown(_)), "{name}");
        }
        assert_eq!(status(&DeploymentStatus::from("Pondering")), CodeDeployStatus::Unknown("Pondering".into()));
    }
}
