//! Stages 3 and 4: follows the execution's history from the last processed event.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::latest_execution::LatestExecution;
use super::verify_green::ready;
use super::watch_traffic::completed;
use super::{CheckRollout, RunStep, Settings, StepContext, StepError, StepOutcome, Transition, VerifyGreen};
use crate::clients::ErrorKind;
use crate::clients::aws::{ExecutionStatus, Priority};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::{Deployment, Facts};
use crate::domain::event::Event;
use crate::domain::execution_input::names_image;
use crate::domain::failure::ErrorCode;
use crate::domain::history::{HistoryEvent, HistoryPiece, Memory, RawEvent, Reader, Reading, Verdict};
use crate::domain::names::Names;

/// State of following an execution.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct FollowExecution {
    /// ARN of the followed execution.
    pub execution_arn: String,
    /// Set when the last event is a failure: earlier versions take the next exit for a Catch.
    pub task_failed: bool,
    /// What reading the rest of the history needs of the part that was read.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub memory: Memory,
    /// Executions of this image that were followed before and ended without success. Absent in rows of earlier versions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replaced: u8,
    /// Size of the texts of this execution's history that were stored, in bytes.
    #[serde(default, skip_serializing_if = "is_empty_store")]
    pub stored_bytes: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_empty_store(bytes: &u64) -> bool {
    *bytes == 0
}

fn is_empty(memory: &Memory) -> bool {
    *memory == Memory::default()
}

/// Number of executions of one image that are followed one after the other: EventBridge delivers an event at least once, seldom twice.
const MAX_REPLACED: u8 = 2;

impl RunStep for FollowExecution {
    const NAME: &'static str = "follow_execution";
    const STAGE: u8 = 4;
    const PRIORITY: Priority = Priority::Poll;
    const REPORTED: (&'static str, Option<&'static str>) = ("Stage 3", Some("Stage 4"));
    const TIMED_OUT: ErrorCode = ErrorCode::FollowTimedOut;

    fn limit(settings: &Settings) -> Duration {
        settings.follow_limit
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let last = cx.deployment.facts.last_history_event_id.unwrap_or(0);
        let executions = &cx.services.aws.controller().executions;
        let raw = executions
            .newest_after(&self.execution_arn, last, cx.expects_news)
            .await
            .map_err(StepError::from_client(ErrorCode::ExecutionUnreadable))?;
        let history: Vec<HistoryEvent> = raw.iter().map(RawEvent::event).collect();
        let accounts = accounts(cx.deployment, &self.execution_arn);
        let reader = Reader { names: &cx.services.names, accounts: &accounts };
        let reading = reader.read(&history, last, self.memory.clone().with_last_failed(self.task_failed, last));
        let (piece, stored) = self.to_store(raw, &reading, &cx.services.names);
        let mut known = cx.deployment.facts.clone();
        known.merge(reading.facts.clone());
        let refused = reading.memory.refused();
        let mut outcome = match &reading.verdict {
            None => StepOutcome::poll(
                self.after(&reading, stored),
                cx.services.settings.poll_interval,
                waiting_for(&reading),
            ),
            Some(Verdict::Failed { code, reason }) => match self.replacement(cx).await? {
                Some(arn) => {
                    let instead = self.follow_instead(arn, *code, reason, reading.events);
                    return Ok(StepOutcome { history: piece, ..instead });
                }
                None => failed(*code, reason.clone()),
            },
            Some(Verdict::Succeeded) => succeeded(&known, &reading.memory, &cx.services.names),
            Some(Verdict::WaitingApproval) => approval(&known, &cx.deployment.id, refused),
        };
        outcome.events.splice(0..0, self.keyed(reading.events));
        let mut facts = reading.facts;
        facts.merge(std::mem::take(&mut outcome.facts));
        Ok(StepOutcome { history: piece, ..outcome.with_facts(facts) })
    }
}

impl FollowExecution {
    /// Begins to follow an execution.
    pub fn new(execution_arn: String) -> Self {
        Self { execution_arn, ..Self::default() }
    }

    /// Resumes in a further attempt, from the stored state of the step that failed.
    pub(super) fn resumed(execution_arn: String, state: &Value) -> Self {
        match serde_json::from_value::<Self>(state.clone()) {
            Ok(stored) => {
                Self { execution_arn, memory: stored.memory.for_further_attempt(), stored_bytes: 0, ..stored }
            }
            Err(_) => Self::new(execution_arn),
        }
    }

    /// Returns the events that were acted on, and the size of all texts that are stored with them.
    fn to_store(&self, raw: Vec<RawEvent>, reading: &Reading, names: &Names) -> (Option<HistoryPiece>, u64) {
        let mut stored = self.stored_bytes;
        let last = reading.facts.last_history_event_id.unwrap_or(0);
        let acted = raw.into_iter().filter(|event| event.id <= last);
        let events: Vec<RawEvent> = acted.map(|event| event.to_store(names, &mut stored)).collect();
        let execution_arn = self.execution_arn.clone();
        ((!events.is_empty()).then_some(HistoryPiece { execution_arn, events }), stored)
    }

    fn after(&self, reading: &Reading, stored_bytes: u64) -> Self {
        let task_failed = match reading.facts.last_history_event_id {
            Some(last) => reading.memory.is_failure(last),
            None => self.task_failed,
        };
        Self { task_failed, memory: reading.memory.clone(), stored_bytes, ..self.clone() }
    }
}

/// Returns the accounts whose resources the outputs may name: the user's, and that of the execution.
pub(super) fn accounts<'a>(deployment: &'a Deployment, execution_arn: &'a str) -> Vec<&'a str> {
    [Some(deployment.account_id.as_str()), execution_arn.split(':').nth(4)].into_iter().flatten().collect()
}

fn waiting_for(reading: &Reading) -> String {
    match reading.missing {
        Some(id) => format!("event {id} of the execution's history is not visible yet"),
        None => "the execution is running".to_owned(),
    }
}

fn failed(code: ErrorCode, reason: String) -> StepOutcome {
    StepOutcome::new(Transition::Failed { code, reason })
}

/// Ends the deployment with a failure of the pipeline's output, with all that was observed before.
pub(super) fn output_invalid(reason: String) -> StepOutcome {
    let facts = Facts { polling_state: Some("FAILED".to_owned()), ..Facts::default() };
    failed(ErrorCode::ExecutionOutputInvalid, reason).with_facts(facts)
}

/// The execution succeeded without an approval. That alone proves nothing: CodeDeploy knows where the traffic is.
fn succeeded(known: &Facts, memory: &Memory, names: &Names) -> StepOutcome {
    let (seen, refused) = (memory.seen(&names.check_state), memory.refused());
    match known.code_deploy_deployment_id.clone() {
        Some(code_deploy_deployment_id) => StepOutcome::next(CheckRollout { code_deploy_deployment_id, seen, refused }),
        None if refused.is_none() && memory.reports_success() => completed(None),
        None => {
            let refused = refused.map(|refused| format!("; {refused}")).unwrap_or_default();
            output_invalid(format!(
                "the execution succeeded without an approval, and none of its outputs had codeDeployDeploymentId, by which CodeDeploy could \
                 be asked where the traffic is; {seen}{refused}"
            ))
        }
    }
}

impl FollowExecution {
    /// Returns another execution of this image that the secret names by now and that may still succeed: one push may start two executions.
    async fn replacement(&self, cx: &StepContext<'_>) -> Result<Option<String>, StepError> {
        if self.replaced >= MAX_REPLACED {
            return Ok(None);
        }
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
        Ok((ours && may_succeed && latest.arn != self.execution_arn).then_some(latest.arn))
    }

    /// Follows `arn` from its first event.
    fn follow_instead(&self, arn: String, code: ErrorCode, reason: &str, events: Vec<Event>) -> StepOutcome {
        tracing::warn!(ended = self.execution_arn, %code, followed = arn, "execution ended, following another one of the same image");
        let next = Self { replaced: self.replaced + 1, ..Self::new(arn.clone()) };
        let replaced = Event::new(EventCode::ExecutionReplaced)
            .with("ended_arn", self.execution_arn.as_str())
            .with("execution_arn", arn.as_str())
            .with("reason", reason)
            .keyed(next.replaced);
        let mut outcome = StepOutcome::next(next);
        outcome.events = self.keyed(events);
        let facts = Facts { execution_arn: Some(arn), last_history_event_id: Some(0), ..Facts::default() };
        outcome.with_event(replaced).with_facts(facts)
    }

    /// Events of a further execution are stored beside those of the first.
    fn keyed(&self, events: Vec<Event>) -> Vec<Event> {
        if self.replaced == 0 {
            return events;
        }
        let keyed = |event: Event| Event { key: format!("{}:execution:{}", event.key, self.replaced), ..event };
        events.into_iter().map(keyed).collect()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u8) -> bool {
    *count == 0
}

/// The pipeline reports that green is up: health checks follow if its URL is known; otherwise the report is trusted.
pub(super) fn approval(known: &Facts, deployment_id: &str, refused: Option<String>) -> StepOutcome {
    if let Some(refused) = refused {
        return output_invalid(format!("the deployment waits for approval, but {refused}"));
    }
    let Some(code_deploy_deployment_id) = known.code_deploy_deployment_id.clone() else {
        let missing = "the execution waits for approval, but none of its outputs had codeDeployDeploymentId, which the traffic switch needs";
        return output_invalid(missing.to_owned());
    };
    match known.green_url.clone() {
        Some(green_url) => StepOutcome::next(VerifyGreen { green_url, code_deploy_deployment_id }),
        None => ready(known, deployment_id, code_deploy_deployment_id),
    }
}
