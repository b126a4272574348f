//! Step Functions: executions and their history. The controller never starts an execution.

use super::budget::{Scope, prepaid, priority};
use super::observer::CallObserver;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_sfn::{Client, config::StalledStreamProtectionConfig, types};
use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;

use super::{
    error::{failed, incomplete},
    sfn_events::after,
    utc,
};
use crate::{
    clients::{ClientError, ErrorKind},
    domain::{history::RawEvent, text},
};

/// Events per page. A poll that follows an execution closely finds a handful of new events, so one small page is nearly always enough.
const PAGE_SIZE: i32 = 100;

/// Events per page where a few new ones are likely, after a poll that found some.
const SMALL_PAGE_SIZE: i32 = 20;

/// Events requested to find out whether there are new ones. The second event shows that the server honours the requested order.
const NEWEST_EVENTS: i32 = 2;

/// Maximum number of concurrent history reads. After a takeover thousands of deployments poll together: more reads would only open more connections
/// and hold more responses in memory, and the service grants an account far fewer.
const MAX_CONCURRENT_READS: usize = 128;

/// Maximum number of events that are read. No history has that many (AWS ends an execution at 25,000 events): a server that keeps paging is broken.
const MAX_EVENTS: i32 = 30_000;

/// Call that reads a history.
const CALL: &str = "states:GetExecutionHistory";

/// Maximum length of the cause that `StopExecution` accepts, in characters.
const MAX_CAUSE_CHARS: usize = 32_768;

/// Status as reported by `DescribeExecution`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutionStatus {
    /// The execution is running.
    Running,
    /// The execution ended successfully.
    Succeeded,
    /// The execution ended with an error.
    Failed,
    /// The execution exceeded its time limit.
    TimedOut,
    /// Stopped by a StopExecution call.
    Aborted,
    /// The execution waits to be redriven.
    PendingRedrive,
    /// Any other status, by its name in the API.
    Unknown(String),
}

/// State of a state machine's execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// ARN of the execution.
    pub arn: String,
    /// Current status of the execution.
    pub status: ExecutionStatus,
    /// Input as JSON text; `None` if AWS withholds it.
    pub input: Option<String>,
    /// Start time by the service's clock.
    pub started_at: DateTime<Utc>,
}

/// A state machine, as far as an execution depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateMachine {
    /// False while it is being deleted.
    pub active: bool,
    /// Its definition in the States Language.
    pub definition: String,
}

/// Client for executions in the controller's account.
#[derive(Clone)]
pub struct Executions {
    client: Client,
    readers: Arc<Semaphore>,
    scope: Scope,
}

impl Executions {
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver, scope: Scope) -> Self {
        // Responses are small and bounded by the operation's time limit; stall detection would cost timers for every call.
        let config = aws_sdk_sfn::config::Builder::from(config)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .interceptor(observe.clone())
            .build();
        Self { client: Client::from_conf(config), readers: Arc::new(Semaphore::new(MAX_CONCURRENT_READS)), scope }
    }

    /// Fetches status and input of the execution.
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

    /// Fetches a state machine; `None` if it does not exist.
    pub async fn state_machine(&self, arn: &str) -> Result<Option<StateMachine>, ClientError> {
        match self.client.describe_state_machine().state_machine_arn(arn).send().await {
            Ok(answer) => {
                let active = answer.status.is_none_or(|status| status == types::StateMachineStatus::Active);
                Ok(Some(StateMachine { active, definition: answer.definition }))
            }
            Err(error) => {
                let error = failed("states:DescribeStateMachine", &error);
                if error.kind == ErrorKind::NotFound { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Fetches the events after `after_id` (0 for all), oldest first.
    pub async fn history_after(&self, arn: &str, after_id: i64) -> Result<Vec<RawEvent>, ClientError> {
        self.newest_after(arn, after_id, false).await
    }

    /// The same; where `likely`, one call for a small page finds out and reads at the same time.
    ///
    /// The service has no "since" parameter: the newest events come first, and pages are read down to `after_id`. Most polls find nothing new, which
    /// a small request for the newest events without their data detects. Events are sorted and filtered by id, because not every server of this
    /// protocol honours the order or the page size.
    pub async fn newest_after(&self, arn: &str, after_id: i64, likely: bool) -> Result<Vec<RawEvent>, ClientError> {
        // Outside of the call, whose time limit is shorter than the wait of the last of thousands of polls. Polls wait in order of arrival, so that every
        // deployment has its turn. A further page goes ahead of polls, because its events are known to exist.
        self.scope.acquire(CALL, priority()).await;
        // The semaphore is never closed, so this never fails.
        let _reader = self.readers.acquire().await;
        // Boxed: thousands of polls may wait above.
        Box::pin(self.read_newest(arn, after_id, likely)).await
    }

    /// Reads the events after `after_id` with a token that was taken in advance.
    async fn read_newest(&self, arn: &str, after_id: i64, likely: bool) -> Result<Vec<RawEvent>, ClientError> {
        let looks = after_id > 0 && !likely;
        if looks {
            let request = self.client.get_execution_history().execution_arn(arn).reverse_order(true);
            let request = request.include_execution_data(false).max_results(NEWEST_EVENTS);
            let glance = prepaid(request.send()).await.map_err(|error| failed(CALL, &error))?;
            if nothing_after(&glance.events, glance.next_token.is_some(), after_id) {
                return Ok(Vec::new());
            }
        }
        let size = if likely { SMALL_PAGE_SIZE } else { PAGE_SIZE };
        let mut events = Vec::new();
        let mut token = None;
        for page in 0..MAX_EVENTS / size {
            let request = self.client.get_execution_history().execution_arn(arn).reverse_order(true);
            let request = request.include_execution_data(true).max_results(size).set_next_token(token.take());
            let sent = request.send();
            let answer = if page == 0 && !looks { prepaid(sent).await } else { sent.await };
            let answer = answer.map_err(|error| failed(CALL, &error))?;
            let enough = reaches(&answer.events, after_id);
            events.extend(answer.events);
            token = answer.next_token;
            if enough || token.is_none() {
                return Ok(after(events, after_id));
            }
        }
        Err(ClientError::new(ErrorKind::Unavailable, CALL, format!("the history has more than {MAX_EVENTS} events")))
    }

    /// Aborts the execution; an execution that has ended already is left unchanged, without an error.
    pub async fn stop(&self, arn: &str, cause: &str) -> Result<(), ClientError> {
        let cause = text::cut(cause, MAX_CAUSE_CHARS);
        let sent = self.client.stop_execution().execution_arn(arn).cause(cause).send().await;
        sent.map(drop).map_err(|error| failed("states:StopExecution", &error))
    }
}

/// Reports whether the newest events prove that there is nothing after `after_id`: events not among them are older.
fn nothing_after(glance: &[types::HistoryEvent], more: bool, after_id: i64) -> bool {
    let newest_first = glance.is_sorted_by_key(|event| std::cmp::Reverse(event.id));
    glance.iter().all(|event| event.id <= after_id) && (!more || (newest_first && !glance.is_empty()))
}

/// Reports whether older pages can contain no new events: true once a page in descending order has reached `after_id`.
fn reaches(page: &[types::HistoryEvent], after_id: i64) -> bool {
    match (page.first(), page.last()) {
        (Some(first), Some(last)) => last.id <= first.id && last.id <= after_id.saturating_add(1),
        _ => false,
    }
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
