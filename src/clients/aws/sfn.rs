//! Step Functions: an execution and its history. The controller never starts one.

use super::observe::Observe;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_sfn::{
    Client,
    config::StalledStreamProtectionConfig,
    types::{self, HistoryEventType},
};
use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;

use super::{
    error::{failed, incomplete},
    utc,
};
use crate::{
    clients::{ClientError, ErrorKind},
    domain::history::{HistoryEvent, HistoryKind},
};

/// Events asked for at once. A poll that follows an execution closely finds a handful of new ones, so one small page
/// nearly always does.
const PAGE: i32 = 100;

/// Events asked for to learn whether there is anything new. A second one shows that the order is the one that was asked for.
const GLANCE: i32 = 2;

/// Histories read at once. After a takeover thousands want to look: more at once would only open more connections and hold more
/// answers in memory, and the service grants an account far fewer.
const READERS: usize = 128;

/// More pages than any history has (AWS ends an execution at 25,000 events): a server that never stops paging is broken.
const MOST_PAGES: usize = 300;

/// The longest cause that `StopExecution` takes, in characters.
const LONGEST_CAUSE: usize = 32_768;

/// Where an execution stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutionStatus {
    /// Under way.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended in an error.
    Failed,
    /// Took too long.
    TimedOut,
    /// Stopped by someone.
    Aborted,
    /// Waits to be driven again.
    PendingRedrive,
    /// A status that this program does not know.
    Unknown(String),
}

/// An execution of a state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Its ARN.
    pub arn: String,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// Its input, JSON in a string; none when AWS withholds it.
    pub input: Option<String>,
    /// When it started.
    pub started_at: DateTime<Utc>,
}

/// The controller's executions.
#[derive(Clone)]
pub struct Executions {
    client: Client,
    readers: Arc<Semaphore>,
}

impl Executions {
    pub(super) fn new(config: &SdkConfig, observe: &Observe) -> Self {
        // Answers are small and bounded by the operation's own time limit; watching each for a stall costs a task's timers.
        let config = aws_sdk_sfn::config::Builder::from(config)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .interceptor(observe.clone())
            .build();
        Self { client: Client::from_conf(config), readers: Arc::new(Semaphore::new(READERS)) }
    }

    /// The execution's state and input.
    pub async fn describe(&self, arn: &str) -> Result<Execution, ClientError> {
        const CALL: &str = "states:DescribeExecution";
        let answer = self.client.describe_execution().execution_arn(arn).send().await;
        let answer = answer.map_err(|error| failed(CALL, &error))?;
        Ok(Execution {
            arn: answer.execution_arn,
            status: status(&answer.status),
            input: answer.input,
            started_at: utc(&answer.start_date).ok_or_else(|| incomplete(CALL, "readable start date"))?,
        })
    }

    /// The events after `after_id` (0: all), oldest first.
    ///
    /// The service knows no "since": the newest come first and pages are read down to `after_id`. Most looks find nothing new, which
    /// a glance at the newest events without their data tells. Events are sorted and filtered by id, because not every server that
    /// speaks this protocol honours the order or the page size.
    pub async fn history_after(&self, arn: &str, after_id: i64) -> Result<Vec<HistoryEvent>, ClientError> {
        const CALL: &str = "states:GetExecutionHistory";
        // Never closed, so never an error.
        let _reader = self.readers.acquire().await;
        if after_id > 0 {
            let request = self.client.get_execution_history().execution_arn(arn).reverse_order(true);
            let request = request.include_execution_data(false).max_results(GLANCE);
            let glance = request.send().await.map_err(|error| failed(CALL, &error))?;
            if nothing_after(&glance.events, glance.next_token.is_some(), after_id) {
                return Ok(Vec::new());
            }
        }
        let mut events = Vec::new();
        let mut token = None;
        for _ in 0..MOST_PAGES {
            let request = self.client.get_execution_history().execution_arn(arn).reverse_order(true);
            let request = request.include_execution_data(true).max_results(PAGE).set_next_token(token.take());
            let answer = request.send().await.map_err(|error| failed(CALL, &error))?;
            let enough = reaches(&answer.events, after_id);
            events.extend(answer.events);
            token = answer.next_token;
            if enough || token.is_none() {
                return Ok(after(events, after_id));
            }
        }
        Err(ClientError::new(ErrorKind::Unavailable, CALL, format!("the history has more than {MOST_PAGES} pages")))
    }

    /// Aborts the execution; one that has ended already is left as it is, without an error.
    pub async fn stop(&self, arn: &str, cause: &str) -> Result<(), ClientError> {
        let cause: String = cause.chars().take(LONGEST_CAUSE).collect();
        let sent = self.client.stop_execution().execution_arn(arn).cause(cause).send().await;
        sent.map(drop).map_err(|error| failed("states:StopExecution", &error))
    }
}

/// Whether a glance shows that nothing lies after `after_id`: all of it is known, and what it does not show is older.
fn nothing_after(glance: &[types::HistoryEvent], more: bool, after_id: i64) -> bool {
    let newest_first = glance.is_sorted_by_key(|event| std::cmp::Reverse(event.id));
    glance.iter().all(|event| event.id <= after_id) && (!more || (newest_first && !glance.is_empty()))
}

/// Whether older pages can hold nothing new: true once a page in descending order has come down to `after_id`.
fn reaches(page: &[types::HistoryEvent], after_id: i64) -> bool {
    match (page.first(), page.last()) {
        (Some(first), Some(last)) => last.id <= first.id && last.id <= after_id.saturating_add(1),
        _ => false,
    }
}

fn after(mut events: Vec<types::HistoryEvent>, after_id: i64) -> Vec<HistoryEvent> {
    events.retain(|event| event.id > after_id);
    events.sort_by_key(|event| event.id);
    events.dedup_by_key(|event| event.id);
    events.into_iter().map(event).collect()
}

fn event(event: types::HistoryEvent) -> HistoryEvent {
    let kind = match &event.r#type {
        HistoryEventType::ExecutionSucceeded => HistoryKind::Succeeded,
        HistoryEventType::ExecutionFailed => {
            let (error, cause) = event.execution_failed_event_details.map(|d| (d.error, d.cause)).unwrap_or_default();
            HistoryKind::Failed { error, cause }
        }
        HistoryEventType::ExecutionTimedOut => {
            let (error, cause) =
                event.execution_timed_out_event_details.map(|d| (d.error, d.cause)).unwrap_or_default();
            HistoryKind::TimedOut { error, cause }
        }
        HistoryEventType::ExecutionAborted => {
            let (error, cause) = event.execution_aborted_event_details.map(|d| (d.error, d.cause)).unwrap_or_default();
            HistoryKind::Aborted { error, cause }
        }
        HistoryEventType::TaskSucceeded
        | HistoryEventType::LambdaFunctionSucceeded
        | HistoryEventType::ActivitySucceeded => HistoryKind::TaskSucceeded,
        HistoryEventType::TaskFailed
        | HistoryEventType::TaskTimedOut
        | HistoryEventType::TaskStartFailed
        | HistoryEventType::TaskSubmitFailed
        | HistoryEventType::LambdaFunctionFailed
        | HistoryEventType::LambdaFunctionTimedOut
        | HistoryEventType::LambdaFunctionScheduleFailed
        | HistoryEventType::LambdaFunctionStartFailed
        | HistoryEventType::ActivityFailed
        | HistoryEventType::ActivityTimedOut
        | HistoryEventType::ActivityScheduleFailed => HistoryKind::TaskFailed,
        // Task, Pass, Choice, Wait, Map, Parallel …: the details are of one shape.
        other if other.as_str().ends_with("StateEntered") => match event.state_entered_event_details {
            Some(details) => HistoryKind::StateEntered { name: details.name },
            None => HistoryKind::Other,
        },
        other if other.as_str().ends_with("StateExited") => match event.state_exited_event_details {
            Some(details) => HistoryKind::StateExited {
                name: details.name,
                // A truncated output is no JSON any more: better none than half of one.
                output: details.output.filter(|_| !details.output_details.is_some_and(|d| d.truncated)),
            },
            None => HistoryKind::Other,
        },
        _ => HistoryKind::Other,
    };
    HistoryEvent { id: event.id, kind }
}

fn status(status: &types::ExecutionStatus) -> ExecutionStatus {
    match status {
        types::ExecutionStatus::Running => ExecutionStatus::Running,
        types::ExecutionStatus::Succeeded => ExecutionStatus::Succeeded,
        types::ExecutionStatus::Failed => ExecutionStatus::Failed,
        types::ExecutionStatus::TimedOut => ExecutionStatus::TimedOut,
        types::ExecutionStatus::Aborted => ExecutionStatus::Aborted,
        types::ExecutionStatus::PendingRedrive => ExecutionStatus::PendingRedrive,
        other => ExecutionStatus::Unknown(other.as_str().to_owned()),
    }
}

#[cfg(test)]
#[path = "sfn_tests.rs"]
mod tests;
