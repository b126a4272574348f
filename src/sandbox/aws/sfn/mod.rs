//! Step Functions: executions, their history, and stopping them.
//!
//! Nobody starts an execution through the API here: only the chain does.

mod calls;
mod history;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use calls::call;
pub use history::HistoryEvent;

/// The one state machine, in the controller's account.
pub const STATE_MACHINE_ARN: &str = "arn:aws:states:ap-northeast-2:123456789012:stateMachine:panda-deployment";
/// The role that it runs with.
pub const STATE_MACHINE_ROLE: &str = "arn:aws:iam::123456789012:role/panda-deployment";

/// How an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Aborted,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Aborted => "ABORTED",
        }
    }
}

/// One execution.
#[derive(Debug)]
pub struct Execution {
    arn: String,
    name: String,
    pub repository: String,
    status: Status,
    started: DateTime<Utc>,
    stopped: Option<DateTime<Utc>>,
    input: String,
    output: Option<String>,
    error: Option<String>,
    cause: Option<String>,
    history: Vec<HistoryEvent>,
    /// Ends the pipeline that runs it.
    pub cancel: CancellationToken,
}

impl Execution {
    /// A new, running execution with its `ExecutionStarted`.
    pub fn start(repository: &str, input: String) -> Self {
        let name = format!("{}_{}", uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let mut execution = Self {
            arn: format!("{}:{name}", STATE_MACHINE_ARN.replacen(":stateMachine:", ":execution:", 1)),
            name,
            repository: repository.to_owned(),
            status: Status::Running,
            started: Utc::now(),
            stopped: None,
            input,
            output: None,
            error: None,
            cause: None,
            history: Vec::new(),
            cancel: CancellationToken::new(),
        };
        let details =
            json!({"input": execution.input, "inputDetails": {"truncated": false}, "roleArn": STATE_MACHINE_ROLE});
        execution.record("ExecutionStarted", Some(("executionStartedEventDetails", details)));
        execution
    }

    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Adds an event to the history of a running execution; a finished one takes no more.
    pub fn record(&mut self, kind: &'static str, details: Option<(&'static str, Value)>) {
        if self.status == Status::Running {
            let last = self.history.last().map_or(0, |event| event.id);
            // The first state's entry has no predecessor either, as in the real one.
            let previous = if last == 1 { 0 } else { last };
            self.history.push(HistoryEvent { id: last + 1, previous, at: Utc::now(), kind, details });
        }
    }

    /// Ends a running execution with its last event.
    pub fn succeed(&mut self, output: String) {
        let details = json!({"output": output, "outputDetails": {"truncated": false}});
        self.record("ExecutionSucceeded", Some(("executionSucceededEventDetails", details)));
        if self.close(Status::Succeeded) {
            self.output = Some(output);
        }
    }

    /// Ends a running execution badly, with its last event.
    pub fn end(&mut self, status: Status, error: Option<String>, cause: Option<String>) {
        let (kind, key) = match status {
            Status::TimedOut => ("ExecutionTimedOut", "executionTimedOutEventDetails"),
            Status::Aborted => ("ExecutionAborted", "executionAbortedEventDetails"),
            _ => ("ExecutionFailed", "executionFailedEventDetails"),
        };
        let mut details = json!({});
        if let Some(error) = &error {
            details["error"] = json!(error);
        }
        if let Some(cause) = &cause {
            details["cause"] = json!(cause);
        }
        self.record(kind, Some((key, details)));
        if self.close(status) {
            (self.error, self.cause) = (error, cause);
        }
    }

    fn close(&mut self, status: Status) -> bool {
        let open = self.status == Status::Running;
        if open {
            self.status = status;
            self.stopped = Some(Utc::now());
            self.cancel.cancel();
        }
        open
    }
}
