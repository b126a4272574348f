//! One interface to both back ends that shift traffic: `CodeDeploy` and ECS itself. Steps and the watch use only this one.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::codedeploy_info::{CodeDeployStatus, CodeDeployment, EcsTarget, LifecycleEvent};
use super::ecs_info::ServiceDeployment;
use super::{CodeDeploy, Ecs, MAX_BATCH, MAX_SERVICE_DEPLOYMENTS, UserAws};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::rollout::{Pause, RolloutId, Standing, Traffic, TrafficSeen};
use crate::domain::traffic_shift::LONGEST;

/// Life-cycle events before CodeDeploy waits for the switch.
const BEFORE_THE_WAIT: [&str; 5] =
    ["BeforeInstall", "Install", "AfterInstall", "AllowTestTraffic", "AfterAllowTestTraffic"];

/// A rollout at AWS.
#[derive(Clone, Copy)]
pub enum Rollout<'a> {
    /// A deployment of CodeDeploy.
    CodeDeploy {
        /// Client of the user's account.
        client: &'a CodeDeploy,
        /// Id of the deployment.
        id: &'a str,
    },
    /// A service deployment of ECS.
    EcsNative {
        /// Client of the user's account.
        client: &'a Ecs,
        /// ARN of the service deployment.
        arn: &'a str,
    },
}

/// A rollout as one call shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Back end and id.
    pub id: RolloutId,
    /// How far it is, by the status and the hooks that AWS shows.
    pub standing: Standing,
    /// Status in AWS's own word.
    pub status: String,
    /// Reason why it failed, stopped or went back, in AWS's words.
    pub why: Option<String>,
    /// Time at which it ended, by AWS's clock.
    pub ended_at: Option<DateTime<Utc>>,
    /// AWS ended it without a failure, as at the end of the wait for approval.
    pub stopped: bool,
    /// AWS ends the wait for approval at some time.
    pub has_deadline: bool,
    /// The old version keeps running after the rollout.
    pub keeps_blue: bool,
    detail: Detail,
}

#[derive(Clone, Debug, PartialEq)]
enum Detail {
    CodeDeploy(CodeDeployment),
    EcsNative(ServiceDeployment),
}

impl UserAws {
    /// Returns the interface to a rollout.
    pub fn rollout<'a>(&'a self, id: &'a RolloutId) -> Rollout<'a> {
        match id {
            RolloutId::CodeDeploy(id) => Rollout::CodeDeploy { client: &self.codedeploy, id },
            RolloutId::EcsNative(arn) => Rollout::EcsNative { client: &self.ecs, arn },
        }
    }

    /// Observes rollouts of one back end, up to [`batch_size`] of them. Unknown ones are left out.
    pub async fn observe_all(&self, ids: &[&RolloutId]) -> Result<HashMap<RolloutId, Observed>, ClientError> {
        let (mut code_deploy, mut native) = (Vec::new(), Vec::new());
        for id in ids {
            match id {
                RolloutId::CodeDeploy(id) => code_deploy.push(id.clone()),
                RolloutId::EcsNative(arn) => native.push(arn.clone()),
            }
        }
        let mut seen: Vec<Observed> = Vec::with_capacity(ids.len());
        if !code_deploy.is_empty() {
            seen.extend(many_of_code_deploy(&self.codedeploy, &code_deploy).await?.into_iter().map(Observed::from));
        }
        if !native.is_empty() {
            seen.extend(self.ecs.service_deployments(&native).await?.into_iter().map(Observed::from));
        }
        Ok(seen.into_iter().map(|seen| (seen.id.clone(), seen)).collect())
    }
}

/// Returns how many rollouts of the back end of `id` one call shows.
pub fn batch_size(id: &RolloutId) -> usize {
    match id {
        RolloutId::CodeDeploy(_) => MAX_BATCH,
        RolloutId::EcsNative(_) => MAX_SERVICE_DEPLOYMENTS,
    }
}

/// Reads deployments of one batch. Where the batch call is not permitted or refuses an id, they are read one by one.
async fn many_of_code_deploy(client: &CodeDeploy, ids: &[String]) -> Result<Vec<CodeDeployment>, ClientError> {
    match client.deployments(ids).await {
        Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::NotFound | ErrorKind::Invalid) => {
            let mut found = Vec::new();
            for id in ids {
                match client.deployment(id).await {
                    Ok(deployment) => found.push(deployment),
                    Err(error) if error.kind == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(found)
        }
        found => found,
    }
}

impl Rollout<'_> {
    /// Observes the rollout, with one call.
    pub async fn observe(self) -> Result<Observed, ClientError> {
        match self {
            Self::CodeDeploy { client, id } => client.deployment(id).await.map(Observed::from),
            Self::EcsNative { client, arn } => client.service_deployment(arn).await.map(Observed::from),
        }
    }

    /// Observes the rollout as one of many, with a call that others share: some time later while many are followed. For looks that no caller waits for.
    pub async fn poll(self) -> Result<Observed, ClientError> {
        match self {
            Self::CodeDeploy { .. } => self.observe().await,
            Self::EcsNative { client, arn } => client.service_deployment_shared(arn).await.map(Observed::from),
        }
    }

    /// Finds out where the traffic is. `sent` says that it was seen on its way to green before, which ECS does not record.
    pub async fn traffic(self, seen: &Observed, sent: bool) -> Result<TrafficSeen, ClientError> {
        match (self, &seen.detail) {
            (Self::CodeDeploy { client, .. }, Detail::CodeDeploy(deployment)) => {
                code_deploy_traffic(client, deployment, &seen.standing).await
            }
            (_, Detail::EcsNative(deployment)) => Ok(deployment.traffic(sent)),
            // An observation belongs to the rollout that was observed.
            (Self::EcsNative { .. }, Detail::CodeDeploy(_)) => {
                Ok(TrafficSeen { at: Traffic::NeverSent, weights: None })
            }
        }
    }

    /// Returns when AWS ends the wait for approval; none if it does not wait, or waits without end. `now` replaces an unknown beginning of the wait.
    pub async fn deadline(self, seen: &Observed, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, ClientError> {
        match (self, &seen.detail, &seen.standing) {
            (Self::CodeDeploy { client, id }, Detail::CodeDeploy(deployment), Standing::Waiting(_))
                if deployment.ready_wait.is_some() =>
            {
                let lifecycle = match client.lifecycle(id).await {
                    // Without the permission, the wait counts from now: too late by the time since it began.
                    Err(error) if error.kind == ErrorKind::Denied => Vec::new(),
                    read => read?,
                };
                Ok(ready_until(deployment, &lifecycle, now))
            }
            (_, _, Standing::Waiting(pause)) => Ok(pause.until),
            _ => Ok(None),
        }
    }

    /// Returns the time from the first to the last part of the traffic; the longest one if the configuration cannot be read.
    pub async fn shift_duration(self, seen: &Observed) -> Result<Duration, ClientError> {
        let (client, configuration) = match (self, &seen.detail) {
            (Self::CodeDeploy { client, .. }, Detail::CodeDeploy(CodeDeployment { configuration: Some(name), .. })) => {
                (client, name)
            }
            (_, Detail::CodeDeploy(_)) => return Ok(Duration::ZERO),
            (_, Detail::EcsNative(deployment)) => return Ok(deployment.shift.duration()),
        };
        match client.traffic_shift(configuration).await {
            Ok(shift) => Ok(shift.duration()),
            Err(error)
                if matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Credentials) =>
            {
                Err(error)
            }
            Err(error) => {
                tracing::info!(configuration, kind = ?error.kind, call = error.call, "deployment configuration not readable, assuming the longest traffic shift");
                Ok(LONGEST)
            }
        }
    }

    /// Reports whether the rollout deploys the image with `digest`, or the one that is named `uri`. The pipeline vouches for CodeDeploy's.
    pub async fn deploys(self, seen: &Observed, digest: &str, uri: Option<&str>) -> Result<bool, ClientError> {
        let (Self::EcsNative { client, .. }, Detail::EcsNative(deployment)) = (self, &seen.detail) else {
            return Ok(true);
        };
        let Some(revision) = deployment.target_revision.clone() else { return Ok(false) };
        Ok(client.revisions(&[revision]).await?.iter().any(|revision| revision.runs(digest, uri)))
    }

    /// Lets a waiting rollout proceed past `pause`. In case of doubt, observe it first: CodeDeploy has no other protection against a second call.
    pub async fn proceed(self, pause: &Pause) -> Result<(), ClientError> {
        match self {
            Self::CodeDeploy { client, id } => client.continue_deployment(id).await,
            Self::EcsNative { client, arn } => {
                client.end_pause(arn, pause.hook.as_deref().unwrap_or_default(), false).await
            }
        }
    }

    /// Ends the rollout, and returns its traffic to blue. Both may still be pending on return. `seen` is its last observation; none if it cannot be read.
    pub async fn roll_back(self, seen: Option<&Observed>) -> Result<(), ClientError> {
        match self {
            Self::CodeDeploy { client, id } => client.stop_deployment(id, true).await,
            Self::EcsNative { client, arn } => match seen.map(|seen| &seen.standing) {
                Some(Standing::Waiting(Pause { hook: Some(hook), .. })) => client.end_pause(arn, hook, true).await,
                _ => client.roll_back(arn).await,
            },
        }
    }
}

impl Observed {
    /// Returns CodeDeploy's own description; none for a rollout of ECS.
    pub fn code_deploy(&self) -> Option<&CodeDeployment> {
        match &self.detail {
            Detail::CodeDeploy(deployment) => Some(deployment),
            Detail::EcsNative(_) => None,
        }
    }

    /// Returns ECS's own description; none for a deployment of CodeDeploy.
    pub fn native(&self) -> Option<&ServiceDeployment> {
        match &self.detail {
            Detail::CodeDeploy(_) => None,
            Detail::EcsNative(deployment) => Some(deployment),
        }
    }
}

impl From<CodeDeployment> for Observed {
    fn from(deployment: CodeDeployment) -> Self {
        let standing = match deployment.status {
            CodeDeployStatus::Created | CodeDeployStatus::Queued => Standing::Pending,
            CodeDeployStatus::Ready => Standing::Waiting(Pause::default()),
            CodeDeployStatus::Succeeded => Standing::Succeeded,
            CodeDeployStatus::Failed | CodeDeployStatus::Stopped => Standing::Ended,
            CodeDeployStatus::InProgress | CodeDeployStatus::Baking => Standing::Active,
            CodeDeployStatus::Unknown(_) => Standing::Unknown,
        };
        Self {
            id: RolloutId::CodeDeploy(deployment.id.clone()),
            status: format!("{:?}", deployment.status),
            why: deployment.error.clone(),
            ended_at: deployment.completed_at,
            stopped: deployment.status == CodeDeployStatus::Stopped,
            has_deadline: deployment.ready_wait.is_some(),
            keeps_blue: deployment.keeps_blue,
            standing,
            detail: Detail::CodeDeploy(deployment),
        }
    }
}

impl From<ServiceDeployment> for Observed {
    fn from(deployment: ServiceDeployment) -> Self {
        Self {
            id: RolloutId::EcsNative(deployment.arn.clone()),
            standing: deployment.standing(),
            status: deployment.status.clone(),
            why: deployment.why.clone(),
            ended_at: deployment.ended_at,
            stopped: deployment.wait_ended,
            has_deadline: deployment.pause.as_ref().is_some_and(|pause| pause.until.is_some()),
            keeps_blue: false,
            detail: Detail::EcsNative(deployment),
        }
    }
}

async fn code_deploy_traffic(
    client: &CodeDeploy,
    deployment: &CodeDeployment,
    standing: &Standing,
) -> Result<TrafficSeen, ClientError> {
    let known = |at| Ok(TrafficSeen { at, weights: None });
    match standing {
        Standing::Pending | Standing::Waiting(_) => return known(Traffic::NeverSent),
        Standing::Succeeded => return known(Traffic::Green),
        Standing::Active | Standing::Unknown | Standing::Ended => {}
    }
    let target = client.target(&deployment.id).await?;
    let at = match (allowed(&target.lifecycle), standing) {
        (true, Standing::Ended) => after_the_end(client, deployment, &target).await?,
        (true, _) => Traffic::Green,
        (false, Standing::Active | Standing::Unknown) if is_shifting(&target.lifecycle) => Traffic::Shifting,
        (false, _) => Traffic::NeverSent,
    };
    Ok(TrafficSeen { at, weights: target.weights })
}

/// Finds out where the traffic is after a deployment that had sent it to green failed or was stopped: CodeDeploy takes it back by another deployment.
async fn after_the_end(
    client: &CodeDeploy,
    ended: &CodeDeployment,
    target: &EcsTarget,
) -> Result<Traffic, ClientError> {
    if let Some(id) = &ended.rollback_id {
        match client.deployment(id).await.map(|rollback| rollback.status) {
            Ok(CodeDeployStatus::Succeeded) => return Ok(Traffic::Blue),
            // It failed, too: the weights show where the traffic has stayed.
            Ok(CodeDeployStatus::Failed | CodeDeployStatus::Stopped) => {}
            Ok(_) => {
                let back = allowed(&client.lifecycle(id).await?);
                return Ok(if back { Traffic::Blue } else { Traffic::MovingBack });
            }
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(match target.weights {
        Some((blue, green)) if blue > green => Traffic::Blue,
        _ => Traffic::Green,
    })
}

/// Reports that the production traffic was sent to the new version.
fn allowed(lifecycle: &[LifecycleEvent]) -> bool {
    lifecycle.iter().any(|event| event.name == "AllowTraffic" && event.status == "Succeeded")
}

/// Reports that the traffic is moving or has moved.
fn is_shifting(lifecycle: &[LifecycleEvent]) -> bool {
    lifecycle.iter().any(|event| {
        matches!(event.name.as_str(), "BeforeAllowTraffic" | "AllowTraffic" | "AfterAllowTraffic")
            && matches!(event.status.as_str(), "InProgress" | "Succeeded")
    })
}

/// Returns the time at which CodeDeploy stops the waiting `deployment`; none if it does not wait. `now` replaces an unknown beginning of the wait.
fn ready_until(deployment: &CodeDeployment, lifecycle: &[LifecycleEvent], now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if deployment.status != CodeDeployStatus::Ready {
        return None;
    }
    let before = lifecycle.iter().filter(|event| BEFORE_THE_WAIT.contains(&event.name.as_str()));
    let began = before.filter_map(|event| event.ended_at).max().unwrap_or(now);
    // Whole seconds, as AWS's times have them in its console.
    let until = began.checked_add_signed(chrono::Duration::from_std(deployment.ready_wait?).ok()?)?;
    DateTime::from_timestamp(until.timestamp(), 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(name: &str, status: &str, ended: Option<i64>) -> LifecycleEvent {
        let ended_at = ended.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        LifecycleEvent { name: name.to_owned(), status: status.to_owned(), ended_at }
    }

    fn waiting(minutes: u64) -> CodeDeployment {
        CodeDeployment {
            id: "d-1".to_owned(),
            application: None,
            configuration: None,
            status: CodeDeployStatus::Ready,
            error: None,
            completed_at: None,
            ready_wait: Some(Duration::from_secs(minutes * 60)),
            keeps_blue: false,
            rollback_id: None,
            production_routes: Vec::new(),
        }
    }

    #[test]
    fn detects_traffic_shift() {
        assert!(!is_shifting(&[event("Install", "Succeeded", None), event("BeforeAllowTraffic", "Pending", None)]));
        assert!(is_shifting(&[
            event("BeforeAllowTraffic", "InProgress", None),
            event("AllowTraffic", "Pending", None)
        ]));
        assert!(is_shifting(&[event("AllowTraffic", "Succeeded", None)]));
    }

    #[test]
    fn wait_begins_with_last_event_before_it() {
        let lifecycle = [
            event("Install", "Succeeded", Some(1_000)),
            event("AfterAllowTestTraffic", "Succeeded", Some(2_000)),
            event("BeforeAllowTraffic", "Pending", None),
        ];
        let now = DateTime::from_timestamp(9_000, 500).unwrap();
        let at = |until: Option<DateTime<Utc>>| until.map(|until| until.timestamp());
        assert_eq!(at(ready_until(&waiting(60), &lifecycle, now)), Some(5_600));
        assert_eq!(at(ready_until(&waiting(60), &[], now)), Some(12_600), "an unknown beginning is now");
        assert_eq!(ready_until(&CodeDeployment { ready_wait: None, ..waiting(1) }, &lifecycle, now), None);
        let going = CodeDeployment { status: CodeDeployStatus::InProgress, ..waiting(1) };
        assert_eq!(ready_until(&going, &lifecycle, now), None);
        assert_eq!(ready_until(&waiting(u64::MAX / 60), &lifecycle, now), None, "beyond the calendar");
    }
}
