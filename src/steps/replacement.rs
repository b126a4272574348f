//! Another execution of the same push. EventBridge delivers an event at least once, so that one push may start two executions; the later one usually
//! stops the rollout of the earlier. The pipeline's secret names it.

use super::latest_execution::LatestExecution;
use super::{FollowExecution, Step, StepContext, StepError, StepOutcome, Transition};
use crate::clients::ErrorKind;
use crate::clients::aws::ExecutionStatus;
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::{Facts, Status};
use crate::domain::event::Event;
use crate::domain::execution_input::names_image;
use crate::domain::failure::ErrorCode;

/// Number of executions of one push that may replace the followed one, one after the other: an event is delivered at least once, seldom twice.
const MAX_REPLACED: u8 = 2;

/// Follows another execution of the push instead of failing, if one exists that may still succeed. An approved switch stays approved: it is for the
/// image, which is the same.
pub(super) async fn instead_of_failure(
    cx: &StepContext<'_>,
    step: &Step,
    ran: Result<StepOutcome, StepError>,
) -> Result<StepOutcome, StepError> {
    let Some(replaced) = step.replaced() else { return ran };
    let failure = match &ran {
        Ok(StepOutcome { transition: Transition::Failed { code, reason }, .. })
        | Err(StepError::Fatal { code, reason }) => Some((*code, reason.clone())),
        _ => None,
    };
    // Once the traffic was on green, another rollout would be a second switch, which needs another approval.
    let replaceable = failure.filter(|(code, _)| *code != ErrorCode::RolledBackAfterSwitch && replaced < MAX_REPLACED);
    let ran = ran.map(|outcome| keyed(outcome, replaced));
    let Some((code, reason)) = replaceable else { return ran };
    let arn = match other_execution(cx).await {
        Ok(Some(arn)) => arn,
        Ok(None) => return ran,
        Err(error) if matches!(step, Step::AwaitSwitch(_)) => {
            tracing::info!(%error, "other executions of the push not readable, looking again later");
            return Ok(StepOutcome::new(Transition::Ready(step.clone())));
        }
        Err(error) => return Err(error),
    };
    let ended = cx.deployment.facts.execution_arn.as_deref().unwrap_or_default();
    tracing::warn!(ended, %code, followed = arn, "deployment of the execution failed, following another one of the same image");
    let failed = ran.unwrap_or_else(|_| StepOutcome::new(Transition::Ready(step.clone())));
    let next = FollowExecution { replaced: replaced + 1, ..FollowExecution::new(arn.clone()) };
    let event = Event::new(EventCode::ExecutionReplaced)
        .with("ended_arn", ended)
        .with("execution_arn", arn.as_str())
        .because(&reason)
        .keyed(next.replaced);
    let transition = match cx.deployment.status {
        Status::Running => Transition::Next(next.into()),
        _ => Transition::RunAgain(next.into()),
    };
    let facts = Facts { execution_arn: Some(arn), last_history_event_id: Some(0), ..Facts::default() };
    Ok(StepOutcome { transition, facts, ..failed }.with_event(event))
}

/// Events of a further execution are stored beside those of the first.
fn keyed(outcome: StepOutcome, replaced: u8) -> StepOutcome {
    if replaced == 0 {
        return outcome;
    }
    let keyed = |event: Event| Event { key: format!("{}:execution:{replaced}", event.key), ..event };
    StepOutcome { events: outcome.events.into_iter().map(keyed).collect(), ..outcome }
}

/// Returns another execution of this image that the secret names by now and that may still succeed.
async fn other_execution(cx: &StepContext<'_>) -> Result<Option<String>, StepError> {
    let latest = match LatestExecution::read(cx).await {
        Ok(LatestExecution::Named(latest)) => latest,
        Ok(_) => return Ok(None),
        Err(error) if matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable) => {
            return Err(StepError::from_client(ErrorCode::ExecutionUnreadable)(error));
        }
        Err(error) => {
            tracing::warn!(kind = ?error.kind, call = error.call, "latest execution not readable, the failure of the followed one stands");
            return Ok(None);
        }
    };
    let may_succeed = matches!(
        latest.status,
        ExecutionStatus::Running | ExecutionStatus::Succeeded | ExecutionStatus::PendingRedrive
    );
    let (tag, unique) = (cx.deployment.image_tag(), cx.deployment.has_unique_digest());
    let digest = cx.deployment.facts.image_digest.as_deref().unwrap_or_default();
    let ours = latest.input.as_deref().is_some_and(|input| names_image(input, &tag, digest, unique));
    let followed = cx.deployment.facts.execution_arn.as_deref() == Some(latest.arn.as_str());
    Ok((ours && may_succeed && !followed).then_some(latest.arn))
}
