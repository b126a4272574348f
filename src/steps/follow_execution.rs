//! Stages 3 and 4: follows the execution's history from the last processed event.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::verify_green::ready;
use super::watch_traffic::completed;
use super::{
    AwaitSwitch, CheckRollout, FindRollout, RunStep, Settings, StepContext, StepError, StepOutcome, Transition,
    VerifyGreen, is_default,
};
use crate::clients::aws::Priority;
use crate::domain::deployment::{Deployment, Facts};
use crate::domain::failure::ErrorCode;
use crate::domain::history::{HistoryEvent, HistoryPiece, Memory, RawEvent, Reader, Reading, Verdict};
use crate::domain::message::{Message, message};
use crate::domain::names::Names;
use crate::domain::reason::Reason;
use crate::domain::rollout::Pause;

/// State of following an execution.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct FollowExecution {
    /// ARN of the followed execution.
    pub execution_arn: String,
    /// Set when the last event is a failure: earlier versions take the next exit for a Catch.
    pub task_failed: bool,
    /// What reading the rest of the history needs of the part that was read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory: Memory,
    /// Executions of this image that were followed before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replaced: u8,
    /// Size of the texts of this execution's history that were stored, in bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stored_bytes: u64,
}

impl RunStep for FollowExecution {
    const NAME: &'static str = "follow_execution";
    const STAGE: u8 = 4;
    const PRIORITY: Priority = Priority::Poll;
    const REPORTED: (&'static str, Option<&'static str>) = ("Stage 3", Some("Stage 4"));
    const TIMED_OUT: ErrorCode = ErrorCode::FollowTimedOut;

    fn limit(settings: &Settings) -> Duration {
        settings.follow_limit
    }

    fn replaced(&self) -> Option<u8> {
        Some(self.replaced)
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let last = cx.deployment.facts.last_history_event_id.unwrap_or(0);
        let executions = &cx.services.aws.controller().executions;
        let raw = executions
            .newest_after(&self.execution_arn, last, cx.expects_news)
            .await
            .map_err(StepError::from_client(ErrorCode::ExecutionUnreadable))?;
        if raw.is_empty() {
            return Ok(StepOutcome::poll(
                self.clone(),
                cx.services.settings.poll_interval,
                message!("wait.execution_running"),
            ));
        }
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
            Some(Verdict::Failed { code, reason }) => failed(*code, reason.clone()),
            Some(Verdict::Succeeded) => self.succeeded(&known, &reading.memory, &cx.services.names),
            Some(Verdict::WaitingApproval) => approval(&known, &cx.deployment.id, self.replaced, refused),
        };
        outcome.events.splice(0..0, reading.events);
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

    /// The execution succeeded without an approval. That alone proves nothing: AWS knows where the traffic is.
    fn succeeded(&self, known: &Facts, memory: &Memory, names: &Names) -> StepOutcome {
        let (seen, refused) = (memory.seen(&names.check_state), memory.refused());
        match known.rollout() {
            Some(rollout) => StepOutcome::next(CheckRollout { rollout, seen, refused, replaced: self.replaced }),
            None if refused.is_none() && memory.reports_success() => completed(None),
            None if refused.is_none() && FindRollout::is_possible(known) => {
                StepOutcome::next(FindRollout { seen: Some(seen), replaced: self.replaced })
            }
            None => {
                let refused = refused.map(|refused| format!("; {refused}")).unwrap_or_default();
                output_invalid(message!("reason.no_approval", seen, refused))
            }
        }
    }
}

/// Returns the accounts whose resources the outputs may name: the user's, and that of the execution.
pub(super) fn accounts<'a>(deployment: &'a Deployment, execution_arn: &'a str) -> Vec<&'a str> {
    [Some(deployment.account_id.as_str()), execution_arn.split(':').nth(4)].into_iter().flatten().collect()
}

fn waiting_for(reading: &Reading) -> Message {
    match reading.missing {
        Some(id) => message!("wait.history_event", id),
        None => message!("wait.execution_running"),
    }
}

fn failed(code: ErrorCode, reason: impl Into<Reason>) -> StepOutcome {
    StepOutcome::new(Transition::Failed { code, reason: reason.into() })
}

/// Ends the deployment with a failure of the pipeline's output, with all that was observed before.
pub(super) fn output_invalid(reason: Message) -> StepOutcome {
    let facts = Facts { polling_state: Some("FAILED".to_owned()), ..Facts::default() };
    failed(ErrorCode::ExecutionOutputInvalid, reason).with_facts(facts)
}

/// The pipeline reports that green is up: health checks follow if its URL is known; otherwise the report is trusted.
pub(super) fn approval(known: &Facts, deployment_id: &str, replaced: u8, refused: Option<String>) -> StepOutcome {
    if let Some(refused) = refused {
        return output_invalid(message!("reason.approval_refused", refused));
    }
    let Some(rollout) = known.rollout() else {
        if FindRollout::is_possible(known) {
            return StepOutcome::next(FindRollout { seen: None, replaced });
        }
        return output_invalid(message!("reason.approval_without_id"));
    };
    match known.green_url.clone() {
        Some(green_url) => StepOutcome::next(VerifyGreen { green_url, rollout, replaced }),
        None => ready(known, deployment_id, AwaitSwitch { rollout, pause: Pause::default(), replaced }),
    }
}
