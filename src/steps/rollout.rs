//! Rules about a `CodeDeploy` deployment that the steps before and after the switch share.

use chrono::{DateTime, SecondsFormat, Utc};

use super::{StepContext, StepOutcome, Transition};
use crate::clients::aws::{CodeDeployStatus, CodeDeployment, EcsTarget, LifecycleEvent};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::{Facts, Status};
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::{Message, Param, message};

/// Life-cycle events before CodeDeploy waits for the switch.
const BEFORE_THE_WAIT: [&str; 5] =
    ["BeforeInstall", "Install", "AfterInstall", "AllowTestTraffic", "AfterAllowTestTraffic"];

/// Tolerance for an end at the deadline, which AWS checks about once a minute.
const DEADLINE_TOLERANCE: chrono::Duration = chrono::Duration::minutes(1);

/// Where the traffic is after a deployment failed or was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// On blue: it was taken back.
    Blue,
    /// On green: no rollback has begun.
    Green,
    /// A rollback is moving it back.
    MovingBack,
}

/// Asks where the traffic is after `ended` failed or was stopped; `None` if it was never sent to green.
pub(super) async fn traffic_after(
    cx: &StepContext<'_>,
    ended: &CodeDeployment,
) -> Result<Option<Traffic>, ClientError> {
    let target = cx.user.codedeploy.target(&ended.id).await?;
    Ok(if allowed(&target.lifecycle) { Some(traffic_back(cx, ended, &target).await?) } else { None })
}

async fn traffic_back(
    cx: &StepContext<'_>,
    ended: &CodeDeployment,
    target: &EcsTarget,
) -> Result<Traffic, ClientError> {
    let code_deploy = &cx.user.codedeploy;
    if let Some(id) = &ended.rollback_id {
        match code_deploy.deployment(id).await.map(|rollback| rollback.status) {
            Ok(CodeDeployStatus::Succeeded) => return Ok(Traffic::Blue),
            // It failed, too: the weights show where the traffic has stayed.
            Ok(CodeDeployStatus::Failed | CodeDeployStatus::Stopped) => {}
            Ok(_) => {
                let back = allowed(&code_deploy.lifecycle(id).await?);
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

/// Returns the deadline of the wait for the switch, if that is why CodeDeploy stopped the deployment.
pub(super) fn expired(cx: &StepContext<'_>, stopped: &CodeDeployment) -> Option<DateTime<Utc>> {
    let ended_at = stopped.completed_at.filter(|_| stopped.status == CodeDeployStatus::Stopped)?;
    cx.deployment.facts.ready_until.filter(|until| ended_at >= *until - DEADLINE_TOLERANCE)
}

/// Fails the deployment: CodeDeploy ended the wait for its switch.
pub(super) fn switch_expired(until: DateTime<Utc>, said: Message) -> StepOutcome {
    let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
    stayed_on_blue(ErrorCode::SwitchExpired, message!("reason.wait_ended", until, said))
}

/// Fails the deployment with the traffic on blue.
pub(super) fn stayed_on_blue(code: ErrorCode, reason: Message) -> StepOutcome {
    let facts = Facts { final_service: Some("blue".to_owned()), ..Facts::default() };
    StepOutcome::new(Transition::Failed { code, reason: reason.into() }).with_facts(facts)
}

/// Returns the reason of a deployment that ended without success.
pub(super) fn said(ended: &CodeDeployment) -> Message {
    let why = ended.error.as_ref().map_or_else(|| message!("reason.no_reason_given").into(), Param::from);
    message!("reason.code_deploy_ended", id = &ended.id, status = format!("{:?}", ended.status), why)
}

/// Reports that the production traffic was sent to the new version.
pub(super) fn allowed(lifecycle: &[LifecycleEvent]) -> bool {
    lifecycle.iter().any(|event| event.name == "AllowTraffic" && event.status == "Succeeded")
}

/// Reports that the traffic is moving or has moved.
pub(crate) fn is_shifting(lifecycle: &[LifecycleEvent]) -> bool {
    lifecycle.iter().any(|event| {
        matches!(event.name.as_str(), "BeforeAllowTraffic" | "AllowTraffic" | "AfterAllowTraffic")
            && matches!(event.status.as_str(), "InProgress" | "Succeeded")
    })
}

/// Returns the time at which CodeDeploy stops the waiting `deployment`; `None` if it does not wait. `now` replaces an unknown beginning of the wait.
pub(super) fn ready_until(
    deployment: &CodeDeployment,
    lifecycle: &[LifecycleEvent],
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    if deployment.status != CodeDeployStatus::Ready {
        return None;
    }
    let before = lifecycle.iter().filter(|event| BEFORE_THE_WAIT.contains(&event.name.as_str()));
    let began = before.filter_map(|event| event.ended_at).max().unwrap_or(now);
    // Whole seconds, as AWS's times have them in its console.
    let until = began.checked_add_signed(chrono::Duration::from_std(deployment.ready_wait?).ok()?)?;
    DateTime::from_timestamp(until.timestamp(), 0)
}

/// Adds to an outcome that makes the deployment ready the time at which AWS ends the wait. What cannot be read now is read by the watch later.
pub(super) async fn with_deadline(cx: &StepContext<'_>, outcome: StepOutcome) -> StepOutcome {
    let first = matches!(outcome.transition, Transition::Ready(_)) && cx.deployment.status == Status::Running;
    let known =
        outcome.facts.code_deploy_deployment_id.as_ref().or(cx.deployment.facts.code_deploy_deployment_id.as_ref());
    let Some(id) = known.filter(|_| first).cloned() else { return outcome };
    match deadline(cx, &id).await {
        Ok(Some(until)) => with_until(outcome, until),
        Ok(None) => outcome,
        Err(error) => {
            tracing::info!(kind = ?error.kind, call = error.call, "end of the wait for the switch not read yet");
            outcome
        }
    }
}

async fn deadline(cx: &StepContext<'_>, id: &str) -> Result<Option<DateTime<Utc>>, ClientError> {
    let deployment = cx.user.codedeploy.deployment(id).await?;
    if deployment.ready_wait.is_none() || deployment.status != CodeDeployStatus::Ready {
        return Ok(None);
    }
    Ok(ready_until(&deployment, &cx.user.codedeploy.lifecycle(id).await?, Utc::now()))
}

fn with_until(mut outcome: StepOutcome, until: DateTime<Utc>) -> StepOutcome {
    let text = until.to_rfc3339_opts(SecondsFormat::Secs, true);
    let awaiting = |event: Event| match event.code {
        EventCode::AwaitingSwitch => event.with("ready_until", text.as_str()),
        _ => event,
    };
    outcome.events = outcome.events.into_iter().map(awaiting).collect();
    outcome.with_facts(Facts { ready_until: Some(until), ..Facts::default() })
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
