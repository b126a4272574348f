//! Deployments and targets as `CodeDeploy` returns them.

use std::time::Duration;

use aws_sdk_codedeploy::types::{
    self, DeploymentInfo, DeploymentReadyAction, DeploymentStatus, EcsTaskSet, InstanceAction, LoadBalancerInfo,
    TargetLabel,
};
use chrono::{DateTime, Utc};

use super::utc;
use crate::domain::listener_guard::TargetPair;

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
    /// Time at which it ended, by AWS's clock.
    pub completed_at: Option<DateTime<Utc>>,
    /// Time for which CodeDeploy waits in the status Ready before it stops the deployment; `None` if it does not wait or states no time.
    pub ready_wait: Option<Duration>,
    /// True if the old version keeps running after the deployment.
    pub keeps_blue: bool,
    /// Id of the deployment that took the traffic back.
    pub rollback_id: Option<String>,
    /// ARNs of the production listeners, or of their rules.
    pub production_routes: Vec<String>,
}

/// One life-cycle step of a deployment target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleEvent {
    /// Name, such as `AllowTraffic`.
    pub name: String,
    /// `Pending`, `InProgress`, `Succeeded`, `Failed`, `Skipped` or `Unknown`.
    pub status: String,
    /// Time at which it ended, by AWS's clock.
    pub ended_at: Option<DateTime<Utc>>,
}

/// The ECS service that a deployment replaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EcsTarget {
    /// Its life cycle; empty while the deployment is created or queued.
    pub lifecycle: Vec<LifecycleEvent>,
    /// Percentages of the traffic on blue and green; `None` if the response lacks them.
    pub weights: Option<(f64, f64)>,
    /// Target groups of blue and green; `None` if the response lacks one.
    pub groups: Option<TargetPair>,
}

/// Reads a deployment; `None` if it has no status.
pub(super) fn read(id: &str, info: DeploymentInfo) -> Option<CodeDeployment> {
    let blue_green = info.blue_green_deployment_configuration;
    let ready = blue_green.as_ref().and_then(|options| options.deployment_ready_option.as_ref());
    let waits = ready.filter(|ready| ready.action_on_timeout == Some(DeploymentReadyAction::StopDeployment));
    let minutes = waits.and_then(|ready| u64::try_from(ready.wait_time_in_minutes).ok()).filter(|minutes| *minutes > 0);
    let blue = blue_green.as_ref().and_then(|options| options.terminate_blue_instances_on_deployment_success.as_ref());
    Some(CodeDeployment {
        id: id.to_owned(),
        application: info.application_name,
        configuration: info.deployment_config_name,
        status: status(&info.status?),
        error: info.error_information.and_then(|error| match (error.message, error.code) {
            (Some(message), Some(code)) => Some(format!("{message} ({})", code.as_str())),
            (message, code) => message.or_else(|| code.map(|code| code.as_str().to_owned())),
        }),
        completed_at: info.complete_time.as_ref().and_then(utc),
        ready_wait: minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60))),
        keeps_blue: blue.is_some_and(|blue| blue.action == Some(InstanceAction::KeepAlive)),
        rollback_id: info
            .rollback_info
            .and_then(|rollback| rollback.rollback_deployment_id)
            .filter(|id| !id.is_empty()),
        production_routes: info.load_balancer_info.map(production_routes).unwrap_or_default(),
    })
}

fn production_routes(balancers: LoadBalancerInfo) -> Vec<String> {
    let pairs = balancers.target_group_pair_info_list.unwrap_or_default().into_iter();
    pairs.filter_map(|pair| pair.prod_traffic_route?.listener_arns).flatten().collect()
}

/// Reads the percentages of the traffic on blue and green; `None` unless both are present.
pub(super) fn weights(task_sets: &[EcsTaskSet]) -> Option<(f64, f64)> {
    let of = |label: &TargetLabel| task_sets.iter().find(|set| set.task_set_label.as_ref() == Some(label));
    Some((of(&TargetLabel::Blue)?.traffic_weight, of(&TargetLabel::Green)?.traffic_weight))
}

/// Reads the target groups of blue and green; `None` unless both are named.
pub(super) fn groups(task_sets: &[EcsTaskSet]) -> Option<TargetPair> {
    let of = |label: &TargetLabel| {
        let set = task_sets.iter().find(|set| set.task_set_label.as_ref() == Some(label))?;
        set.target_group.as_ref()?.name.clone().filter(|name| !name.is_empty())
    };
    Some(TargetPair { blue: of(&TargetLabel::Blue)?, green: of(&TargetLabel::Green)? })
}

/// Reads one life-cycle event; `None` if it has no name.
pub(super) fn lifecycle_event(event: types::LifecycleEvent) -> Option<LifecycleEvent> {
    Some(LifecycleEvent {
        name: event.lifecycle_event_name?,
        status: event.status.map_or_else(|| "Unknown".to_owned(), |status| status.as_str().to_owned()),
        ended_at: event.end_time.as_ref().and_then(utc),
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
