//! `CodeDeploy`: blue/green deployments, and the traffic switch.

use aws_config::SdkConfig;
use aws_sdk_codedeploy::{
    Client,
    error::ProvideErrorMetadata as _,
    types::{DeploymentReadyAction, DeploymentWaitType, TrafficRoutingType},
};

use super::client;
use super::codedeploy_info::{CodeDeployment, EcsTarget, LifecycleEvent, groups, lifecycle_event, read, weights};
use super::error::{failed_for_user, incomplete};
use super::observer::CallObserver;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::traffic_shift::TrafficShift;

/// Code with which CodeDeploy answers calls about the targets of a deployment that is created or queued.
const NOT_STARTED: &str = "DeploymentNotStartedException";

/// Most ids that BatchGetDeployments takes.
pub const MAX_BATCH: usize = 25;

/// A deployment group, as far as a deployment depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeploymentGroup {
    /// Set when its deployments wait for the switch, and are stopped if it does not come.
    pub waits_for_switch: bool,
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
        let answer = answer.map_err(|error| failed_for_user(CALL, &error))?;
        let info = answer.deployment_info.ok_or_else(|| incomplete(CALL, "deployment"))?;
        read(id, info).ok_or_else(|| incomplete(CALL, "status"))
    }

    /// Fetches the application and the group of a deployment; `None` if it does not exist.
    pub async fn group_of(&self, id: &str) -> Result<Option<(String, String)>, ClientError> {
        const CALL: &str = "codedeploy:GetDeployment";
        let answer = match self.client.get_deployment().deployment_id(id).send().await {
            Ok(answer) => answer,
            Err(error) => return none_if_absent(failed_for_user(CALL, &error)),
        };
        let info = answer.deployment_info.ok_or_else(|| incomplete(CALL, "deployment"))?;
        Ok(info.application_name.zip(info.deployment_group_name))
    }

    /// Fetches a deployment group; `None` if the group or its application does not exist.
    pub async fn deployment_group(
        &self,
        application: &str,
        group: &str,
    ) -> Result<Option<DeploymentGroup>, ClientError> {
        const CALL: &str = "codedeploy:GetDeploymentGroup";
        let request = self.client.get_deployment_group().application_name(application);
        let answer = match request.deployment_group_name(group).send().await {
            Ok(answer) => answer,
            Err(error) => return none_if_absent(failed_for_user(CALL, &error)),
        };
        let info = answer.deployment_group_info.ok_or_else(|| incomplete(CALL, "group"))?;
        let ready = info.blue_green_deployment_configuration.and_then(|found| found.deployment_ready_option);
        let action = ready.and_then(|ready| ready.action_on_timeout);
        Ok(Some(DeploymentGroup { waits_for_switch: action == Some(DeploymentReadyAction::StopDeployment) }))
    }

    /// Fetches the states of up to [`MAX_BATCH`] deployments. Unknown ids are left out.
    pub async fn deployments(&self, ids: &[String]) -> Result<Vec<CodeDeployment>, ClientError> {
        let request = self.client.batch_get_deployments().set_deployment_ids(Some(ids.to_vec()));
        let answer = request.send().await.map_err(|error| failed_for_user("codedeploy:BatchGetDeployments", &error))?;
        let infos = answer.deployments_info.unwrap_or_default().into_iter();
        Ok(infos.filter_map(|info| info.deployment_id.clone().and_then(|id| read(&id, info))).collect())
    }

    /// Lets the waiting deployment shift its traffic. Not idempotent: in case of doubt, fetch the deployment again first.
    pub async fn continue_deployment(&self, id: &str) -> Result<(), ClientError> {
        // The wait type is always given: without it, AWS assumes READY_WAIT for some deployments and refuses others.
        let request = self.client.continue_deployment().deployment_id(id);
        let sent = request.deployment_wait_type(DeploymentWaitType::ReadyWait).send().await;
        sent.map(drop).map_err(|error| failed_for_user("codedeploy:ContinueDeployment", &error))
    }

    /// Fetches how a deployment configuration shifts the traffic.
    pub async fn traffic_shift(&self, configuration: &str) -> Result<TrafficShift, ClientError> {
        const CALL: &str = "codedeploy:GetDeploymentConfig";
        if let Some(known) = TrafficShift::predefined(configuration) {
            return Ok(known);
        }
        let answer = self.client.get_deployment_config().deployment_config_name(configuration).send().await;
        let answer = answer.map_err(|error| failed_for_user(CALL, &error))?;
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
        Ok(self.target(id).await?.lifecycle)
    }

    /// Fetches the deployment's ECS target; without life-cycle events while there is none, as for a deployment that is created or queued.
    pub async fn target(&self, id: &str) -> Result<EcsTarget, ClientError> {
        const LIST: &str = "codedeploy:ListDeploymentTargets";
        const GET: &str = "codedeploy:BatchGetDeploymentTargets";
        // An ECS deployment has exactly one target, so there is no second page.
        let listed = self.client.list_deployment_targets().deployment_id(id).send().await;
        let ids = match listed {
            Ok(listed) => listed.target_ids.unwrap_or_default(),
            Err(error) if error.code() == Some(NOT_STARTED) => return Ok(EcsTarget::default()),
            Err(error) => return Err(failed_for_user(LIST, &error)),
        };
        if ids.is_empty() {
            return Ok(EcsTarget::default());
        }
        let targets =
            self.client.batch_get_deployment_targets().deployment_id(id).set_target_ids(Some(ids)).send().await;
        let targets = match targets {
            Ok(targets) => targets.deployment_targets.unwrap_or_default(),
            Err(error) if error.code() == Some(NOT_STARTED) => return Ok(EcsTarget::default()),
            Err(error) => return Err(failed_for_user(GET, &error)),
        };
        let mut found = EcsTarget::default();
        for target in targets.into_iter().filter_map(|target| target.ecs_target) {
            let task_sets = target.task_sets_info.as_deref().unwrap_or_default();
            (found.weights, found.groups) = (weights(task_sets), groups(task_sets));
            found.lifecycle.extend(target.lifecycle_events.into_iter().flatten().filter_map(lifecycle_event));
        }
        Ok(found)
    }

    /// Stops the deployment, with a rollback (a new deployment) or without. The stop may still be pending on return.
    pub async fn stop_deployment(&self, id: &str, rollback: bool) -> Result<(), ClientError> {
        let request = self.client.stop_deployment().deployment_id(id).auto_rollback_enabled(rollback);
        request.send().await.map(drop).map_err(|error| failed_for_user("codedeploy:StopDeployment", &error))
    }
}

fn none_if_absent<T>(error: ClientError) -> Result<Option<T>, ClientError> {
    if error.kind == ErrorKind::NotFound { Ok(None) } else { Err(error) }
}
