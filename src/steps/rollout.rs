//! Rules about a rollout that the steps before and after the switch share.

use chrono::{DateTime, SecondsFormat, Utc};

use super::{Step, StepContext, StepOutcome, Transition};
use crate::clients::ClientError;
use crate::clients::aws::Observed;
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::{Facts, Status};
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::{Message, Param, message};
use crate::domain::rollout::{Pause, RolloutId, SeenPause, Standing};

/// Tolerance for an end at the deadline, which AWS checks about once a minute.
const DEADLINE_TOLERANCE: chrono::Duration = chrono::Duration::minutes(1);

/// Returns the deadline of the wait for the switch, if that is why AWS stopped the rollout.
pub(super) fn expired(cx: &StepContext<'_>, seen: &Observed) -> Option<DateTime<Utc>> {
    let ended_at = seen.ended_at.filter(|_| seen.stopped)?;
    cx.deployment.facts.ready_until.filter(|until| ended_at >= *until - DEADLINE_TOLERANCE)
}

/// Fails the deployment: AWS ended the wait for its switch.
pub(super) fn switch_expired(until: DateTime<Utc>, said: Message) -> StepOutcome {
    let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
    stayed_on_blue(ErrorCode::SwitchExpired, message!("reason.wait_ended", until, said))
}

/// Fails the deployment with the traffic on blue.
pub(super) fn stayed_on_blue(code: ErrorCode, reason: Message) -> StepOutcome {
    let facts = Facts { final_service: Some("blue".to_owned()), ..Facts::default() };
    StepOutcome::new(Transition::Failed { code, reason: reason.into() }).with_facts(facts)
}

/// Returns the reason of a rollout that ended without success.
pub(super) fn said(seen: &Observed) -> Message {
    let why = seen.why.as_ref().map_or_else(|| message!("reason.no_reason_given").into(), Param::from);
    message!("reason.rollout_ended", service = seen.id.service(), id = seen.id.as_str(), status = &seen.status, why)
}

/// Describes the wait for the end of a rollback.
pub(super) fn moving_back(id: &RolloutId) -> Message {
    message!("wait.moving_back", service = id.service())
}

/// Reports whether a part of the traffic was seen on green.
pub(super) fn was_sent(known: &Facts) -> bool {
    known.green_weight.is_some_and(|green| green > 0.0)
}

/// Creates an event about a rollout.
pub(super) fn about(code: EventCode, id: &RolloutId) -> Event {
    let event = Event::new(code);
    match id {
        RolloutId::CodeDeploy(id) => event.with("code_deploy_deployment_id", id.as_str()),
        RolloutId::EcsNative(arn) => event.with("service_deployment_arn", arn.as_str()),
    }
}

/// Reports whether the rollout deploys the deployment's image: a pipeline may report another one, or one of before.
pub(super) async fn is_ours(cx: &StepContext<'_>, seen: &Observed) -> Result<bool, ClientError> {
    let facts = &cx.deployment.facts;
    let digest = facts.image_digest.as_deref().unwrap_or_default();
    cx.user.rollout(&seen.id).deploys(seen, digest, facts.image_uri.as_deref()).await
}

/// Returns the reason of a rollout that deploys another image.
pub(super) fn other_image(cx: &StepContext<'_>, seen: &Observed) -> Message {
    let digest = cx.deployment.facts.image_digest.clone().unwrap_or_default();
    message!("reason.other_image", id = seen.id.as_str(), digest)
}

/// Adds to an outcome that makes the deployment ready which pause awaits approval, and when AWS ends it. What cannot be read now is read by the watch
/// later.
pub(super) async fn with_pause(cx: &StepContext<'_>, outcome: StepOutcome) -> StepOutcome {
    let first = matches!(outcome.transition, Transition::Ready(_)) && cx.deployment.status == Status::Running;
    let known = outcome.facts.rollout().or_else(|| cx.deployment.facts.rollout());
    let Some(id) = known.filter(|_| first) else { return outcome };
    match pause(cx, &id).await {
        Ok(Some((pause, until, facts))) => with_known_pause(outcome, pause, until).with_facts(facts),
        Ok(None) => outcome,
        Err(error) => {
            tracing::info!(kind = ?error.kind, call = error.call, "wait for the switch not read yet");
            outcome
        }
    }
}

/// Returns the fact that this pause was reached, with the share of the traffic that is on green during it.
pub(super) async fn seen_pause(cx: &StepContext<'_>, seen: &Observed, pause: &Pause) -> Result<Facts, ClientError> {
    let known = cx.deployment.facts.pauses.as_deref().unwrap_or_default();
    // Of ECS, without a call.
    let traffic = cx.user.rollout(&seen.id).traffic(seen, was_sent(&cx.deployment.facts)).await?;
    let green = traffic.weights.map(|(_, green)| green);
    Ok(Facts { pauses: SeenPause::added(known, pause, green), ..Facts::default() })
}

async fn pause(
    cx: &StepContext<'_>,
    id: &RolloutId,
) -> Result<Option<(Pause, Option<DateTime<Utc>>, Facts)>, ClientError> {
    let rollout = cx.user.rollout(id);
    let seen = rollout.observe().await?;
    let Standing::Waiting(pause) = &seen.standing else { return Ok(None) };
    let until = if seen.has_deadline { rollout.deadline(&seen, Utc::now()).await? } else { None };
    Ok(Some((pause.clone(), until, seen_pause(cx, &seen, pause).await?)))
}

fn with_known_pause(mut outcome: StepOutcome, pause: Pause, until: Option<DateTime<Utc>>) -> StepOutcome {
    if let Transition::Ready(Step::AwaitSwitch(awaits)) = &mut outcome.transition {
        awaits.pause = pause;
    }
    match until {
        Some(until) => with_until(outcome, until),
        None => outcome,
    }
}

/// Adds the time at which AWS ends the wait.
pub(super) fn with_until(mut outcome: StepOutcome, until: DateTime<Utc>) -> StepOutcome {
    let text = until.to_rfc3339_opts(SecondsFormat::Secs, true);
    let awaiting = |event: Event| match event.code {
        EventCode::AwaitingSwitch => event.with("ready_until", text.as_str()),
        _ => event,
    };
    outcome.events = outcome.events.into_iter().map(awaiting).collect();
    outcome.with_facts(Facts { ready_until: Some(until), ..Facts::default() })
}
