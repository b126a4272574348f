//! Service deployments as ECS returns them.

use aws_sdk_ecs::types::{
    self, DeploymentConfiguration, DeploymentLifecycleHookDetail, DeploymentLifecycleHookStatus,
    DeploymentLifecycleHookTargetType, DeploymentStrategy, ServiceDeploymentRollbackMonitorsStatus,
    ServiceDeploymentStatus,
};
use chrono::{DateTime, Utc};

use super::utc;
use crate::domain::rollout::{Pause, Standing, Traffic, TrafficSeen};
use crate::domain::service_revision::{RevisionBalancer, RevisionImage, ServiceRevision};
use crate::domain::traffic_shift::TrafficShift;

/// State of a service deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceDeployment {
    /// ARN of the deployment, which a rollback keeps.
    pub arn: String,
    /// Status, by its name in the API.
    pub status: String,
    /// Stage of its life cycle, by its name in the API, which may be unknown to this program.
    pub stage: String,
    /// Hook that waits for a person.
    pub pause: Option<Pause>,
    /// The service has a hook that waits for a person.
    pub waits_for_approval: bool,
    /// A hook's wait ended without an answer.
    pub wait_ended: bool,
    /// Percentage of the production traffic that green is to have; none if the response lacks it.
    pub green_weight: Option<f64>,
    /// ARN of the revision that it deploys.
    pub target_revision: Option<String>,
    /// How it shifts the traffic.
    pub shift: TrafficShift,
    /// Time at which it ended or began to go back, by AWS's clock.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why it goes or went back.
    pub why: Option<String>,
}

impl ServiceDeployment {
    /// Returns how far the deployment is.
    pub fn standing(&self) -> Standing {
        match (ServiceDeploymentStatus::from(self.status.as_str()), &self.pause) {
            (ServiceDeploymentStatus::Pending, _) => Standing::Pending,
            (ServiceDeploymentStatus::Successful, _) => Standing::Succeeded,
            (
                ServiceDeploymentStatus::Stopped
                | ServiceDeploymentStatus::StopRequested
                | ServiceDeploymentStatus::RollbackRequested
                | ServiceDeploymentStatus::RollbackInProgress
                | ServiceDeploymentStatus::RollbackSuccessful
                | ServiceDeploymentStatus::RollbackFailed,
                _,
            ) => Standing::Ended,
            (ServiceDeploymentStatus::InProgress, Some(pause)) => Standing::Waiting(pause.clone()),
            (ServiceDeploymentStatus::InProgress, None) => Standing::Active,
            _ => Standing::Unknown,
        }
    }

    /// Returns where the traffic is. ECS does not record whether it was ever on green: `sent` says that it was seen there, or on its way.
    pub fn traffic(&self, sent: bool) -> TrafficSeen {
        let green = self.green_weight.unwrap_or(0.0);
        let on_blue = if sent { Traffic::Blue } else { Traffic::NeverSent };
        let at = match ServiceDeploymentStatus::from(self.status.as_str()) {
            ServiceDeploymentStatus::RollbackRequested
            | ServiceDeploymentStatus::RollbackInProgress
            | ServiceDeploymentStatus::StopRequested => Traffic::MovingBack,
            ServiceDeploymentStatus::RollbackSuccessful => on_blue,
            ServiceDeploymentStatus::Successful => Traffic::Green,
            // The weights are where it stopped.
            ServiceDeploymentStatus::Stopped | ServiceDeploymentStatus::RollbackFailed => {
                if green > 50.0 {
                    Traffic::Green
                } else {
                    on_blue
                }
            }
            _ if green >= 100.0 && self.has_shifted() => Traffic::Green,
            _ if green > 0.0 || self.stage == "PRODUCTION_TRAFFIC_SHIFT" => Traffic::Shifting,
            _ => Traffic::NeverSent,
        };
        TrafficSeen { at, weights: self.green_weight.map(|green| (100.0 - green, green)) }
    }

    /// Reports whether the last shift is over.
    fn has_shifted(&self) -> bool {
        ["POST_PRODUCTION_TRAFFIC_SHIFT", "BAKE_TIME", "CLEAN_UP"].contains(&self.stage.as_str())
    }
}

/// Reads a service deployment; none if it has no ARN or status.
pub(super) fn read(found: &types::ServiceDeployment) -> Option<ServiceDeployment> {
    let hooks = found.lifecycle_hook_details.as_deref().unwrap_or_default();
    let stage = found.lifecycle_stage.as_ref().map(|stage| stage.as_str().to_owned()).unwrap_or_default();
    let pause = hooks.iter().find_map(|hook| pause(hook, &stage));
    let wait_ended = hooks.iter().any(|hook| hook.status == Some(DeploymentLifecycleHookStatus::TimedOut));
    let rolled_back_at = found.rollback.as_ref().and_then(|rollback| rollback.started_at.as_ref());
    let ended_at = found.finished_at.as_ref().or(found.stopped_at.as_ref()).or(rolled_back_at).and_then(utc);
    let target = found.target_service_revision.as_ref();
    Some(ServiceDeployment {
        why: why(found),
        arn: found.service_deployment_arn.clone()?,
        status: found.status.as_ref()?.as_str().to_owned(),
        pause,
        waits_for_approval: found.deployment_configuration.as_ref().is_some_and(has_pause),
        wait_ended,
        green_weight: target.and_then(|target| target.requested_production_traffic_weight),
        target_revision: target.and_then(|target| target.arn.clone()),
        shift: found.deployment_configuration.as_ref().map_or(TrafficShift::AllAtOnce, shift),
        ended_at,
        stage,
    })
}

/// Reads a service revision; none if it has no ARN.
pub(super) fn revision(found: types::ServiceRevision) -> Option<ServiceRevision> {
    let images = found.container_images.unwrap_or_default().into_iter().map(|container| RevisionImage {
        digest: container.image_digest.filter(|digest| !digest.is_empty()),
        image: container.image.unwrap_or_default(),
    });
    let resolved = found.resolved_configuration.and_then(|resolved| resolved.load_balancers).unwrap_or_default();
    let balancers = found.load_balancers.unwrap_or_default().into_iter().filter_map(|balancer| {
        // Without it, ECS shifts no weights.
        let advanced = balancer.advanced_configuration?;
        let groups: Vec<String> =
            balancer.target_group_arn.into_iter().chain(advanced.alternate_target_group_arn).collect();
        let own = resolved.iter().find(|own| own.target_group_arn.as_ref().is_some_and(|own| groups.contains(own)));
        let production_rule =
            advanced.production_listener_rule.or_else(|| own.and_then(|own| own.production_listener_rule.clone()));
        Some(RevisionBalancer { production_rule, own_group: own.and_then(|own| own.target_group_arn.clone()), groups })
    });
    let (images, balancers) = (images.collect(), balancers.collect());
    Some(ServiceRevision { arn: found.service_revision_arn?, images, balancers })
}

fn pause(hook: &DeploymentLifecycleHookDetail, stage: &str) -> Option<Pause> {
    let waits = hook.target_type == Some(DeploymentLifecycleHookTargetType::Pause)
        && hook.status == Some(DeploymentLifecycleHookStatus::AwaitingAction);
    // Whole seconds: the stored time identifies the pause, and AWS's fractions are binary.
    let until = hook.expires_at.as_ref().and_then(|until| DateTime::from_timestamp(until.secs(), 0));
    let timeout_action = hook.timeout_action.as_ref().map(|action| action.as_str().to_owned());
    waits.then(|| Pause { hook: hook.hook_id.clone(), stage: Some(stage.to_owned()), until, timeout_action })
}

fn has_pause(configuration: &DeploymentConfiguration) -> bool {
    let hooks = configuration.lifecycle_hooks.as_deref().unwrap_or_default();
    hooks.iter().any(|hook| hook.target_type == Some(DeploymentLifecycleHookTargetType::Pause))
}

fn shift(configuration: &DeploymentConfiguration) -> TrafficShift {
    match (&configuration.strategy, &configuration.linear_configuration, &configuration.canary_configuration) {
        (Some(DeploymentStrategy::Linear), Some(linear), _) => TrafficShift::Linear {
            // AWS takes fractions; the next smaller whole part gives the longer shift.
            percentage: percent(linear.step_percent.unwrap_or(10.0)),
            interval_minutes: linear.step_bake_time_in_minutes.unwrap_or(6),
        },
        (Some(DeploymentStrategy::Canary), _, Some(canary)) => {
            TrafficShift::Canary { interval_minutes: canary.canary_bake_time_in_minutes.unwrap_or(10) }
        }
        _ => TrafficShift::AllAtOnce,
    }
}

fn percent(part: f64) -> i32 {
    (1..=100).rev().find(|whole| f64::from(*whole) <= part).unwrap_or(1)
}

/// Returns why the deployment goes back: alarms, the circuit breaker, then what ECS says.
fn why(found: &types::ServiceDeployment) -> Option<String> {
    let alarms = found.alarms.as_ref().and_then(|alarms| alarms.triggered_alarm_names.as_deref()).unwrap_or_default();
    let alarms = (!alarms.is_empty()).then(|| format!("alarms in ALARM: {}", alarms.join(", ")));
    let breaker = found.deployment_circuit_breaker.as_ref();
    let triggered =
        breaker.is_some_and(|breaker| breaker.status == Some(ServiceDeploymentRollbackMonitorsStatus::Triggered));
    let breaker = triggered.then(|| "the deployment circuit breaker was triggered".to_owned());
    let said = found.rollback.as_ref().and_then(|rollback| rollback.reason.clone());
    let status = found.status_reason.clone().filter(|reason| Some(reason) != said.as_ref());
    let why: Vec<String> =
        [alarms, breaker, said, status].into_iter().flatten().filter(|why| !why.is_empty()).collect();
    (!why.is_empty()).then(|| why.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(status: &str, stage: &str, green: f64) -> ServiceDeployment {
        ServiceDeployment {
            arn: "arn".to_owned(),
            status: status.to_owned(),
            stage: stage.to_owned(),
            pause: None,
            waits_for_approval: true,
            wait_ended: false,
            green_weight: Some(green),
            target_revision: None,
            shift: TrafficShift::AllAtOnce,
            ended_at: None,
            why: None,
        }
    }

    #[test]
    fn traffic_of_each_status_and_stage() {
        let at = |status: &str, stage: &str, green: f64, sent: bool| deployment(status, stage, green).traffic(sent).at;
        for (status, stage, green, sent, expected) in [
            ("PENDING", "", 0.0, false, Traffic::NeverSent),
            ("IN_PROGRESS", "SCALE_UP", 0.0, false, Traffic::NeverSent),
            ("IN_PROGRESS", "POST_TEST_TRAFFIC_SHIFT", 0.0, false, Traffic::NeverSent),
            ("IN_PROGRESS", "PRODUCTION_TRAFFIC_SHIFT", 0.0, false, Traffic::Shifting),
            ("IN_PROGRESS", "PRODUCTION_TRAFFIC_SHIFT", 100.0, true, Traffic::Shifting),
            ("IN_PROGRESS", "PRE_PRODUCTION_TRAFFIC_SHIFT", 10.0, true, Traffic::Shifting),
            ("IN_PROGRESS", "POST_PRODUCTION_TRAFFIC_SHIFT", 10.0, true, Traffic::Shifting),
            ("IN_PROGRESS", "POST_PRODUCTION_TRAFFIC_SHIFT", 100.0, true, Traffic::Green),
            ("IN_PROGRESS", "BAKE_TIME", 100.0, true, Traffic::Green),
            ("IN_PROGRESS", "OF_NEXT_YEAR", 0.0, false, Traffic::NeverSent),
            ("SUCCESSFUL", "CLEAN_UP", 100.0, true, Traffic::Green),
            ("ROLLBACK_REQUESTED", "BAKE_TIME", 100.0, true, Traffic::MovingBack),
            ("ROLLBACK_IN_PROGRESS", "", 0.0, false, Traffic::MovingBack),
            ("ROLLBACK_SUCCESSFUL", "", 0.0, true, Traffic::Blue),
            ("ROLLBACK_SUCCESSFUL", "", 0.0, false, Traffic::NeverSent),
            ("ROLLBACK_FAILED", "", 100.0, true, Traffic::Green),
            ("ROLLBACK_FAILED", "", 10.0, true, Traffic::Blue),
            ("STOPPED", "", 100.0, true, Traffic::Green),
            ("STOPPED", "", 0.0, false, Traffic::NeverSent),
        ] {
            assert_eq!(at(status, stage, green, sent), expected, "{status} {stage} {green} {sent}");
        }
    }

    #[test]
    fn standing_of_each_status() {
        for name in ServiceDeploymentStatus::values() {
            let standing = deployment(name, "SCALE_UP", 0.0).standing();
            let expected = match *name {
                "PENDING" => Standing::Pending,
                "IN_PROGRESS" => Standing::Active,
                "SUCCESSFUL" => Standing::Succeeded,
                _ => Standing::Ended,
            };
            assert_eq!(standing, expected, "{name}");
        }
        assert_eq!(
            deployment("OF_NEXT_YEAR", "", 0.0).standing(),
            Standing::Unknown,
            "an unknown status decides nothing"
        );
        let pause = Pause { hook: Some("h".to_owned()), ..Pause::default() };
        let waiting = ServiceDeployment { pause: Some(pause.clone()), ..deployment("IN_PROGRESS", "BAKE_TIME", 0.0) };
        assert_eq!(waiting.standing(), Standing::Waiting(pause));
    }

    #[test]
    fn percentages_are_rounded_down() {
        assert_eq!((percent(33.3), percent(100.0), percent(0.1), percent(f64::NAN)), (33, 100, 1, 1));
    }
}
