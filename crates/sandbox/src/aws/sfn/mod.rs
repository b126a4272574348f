//! Step Functions: executions, their history, and stopping them.
//!
//! Executions are started only by the chain, never through the API.

mod history;
mod scripted;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use history::{HistoryEvent, HistoryPage};
pub use scripted::{ScriptedEvent, scripted};

/// The only state machine, in the controller's account.
pub const STATE_MACHINE_ARN: &str = "arn:aws:states:ap-northeast-2:123456789012:stateMachine:panda-deployment";
/// The controller account trusts Step Functions with it.
pub const STATE_MACHINE_ROLE: &str = "arn:aws:iam::123456789012:role/panda-deployment";

/// Status of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SfnStatus {
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Aborted,
}

impl SfnStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Aborted => "ABORTED",
        }
    }
}

/// One execution of the state machine.
#[derive(Debug)]
pub struct SimulatedExecution {
    pub arn: String,
    pub name: String,
    pub repository: String,
    pub status: SfnStatus,
    pub started: DateTime<Utc>,
    pub stopped: Option<DateTime<Utc>>,
    pub input: String,
    pub output: Option<String>,
    pub error: Option<String>,
    pub cause: Option<String>,
    pub history: Vec<HistoryEvent>,
    /// Stops the task that runs the execution.
    pub cancel: CancellationToken,
}

impl SimulatedExecution {
    /// Creates a running execution with its `ExecutionStarted` event.
    pub fn start(repository: &str, input: String) -> Self {
        let name = format!("{}_{}", uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let mut execution = Self {
            arn: format!("{}:{name}", STATE_MACHINE_ARN.replacen(":stateMachine:", ":execution:", 1)),
            name,
            repository: repository.to_owned(),
            status: SfnStatus::Running,
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

    /// Adds an event to the history of a running execution. Does nothing when it has ended.
    pub fn record(&mut self, kind: &'static str, details: Option<(&'static str, Value)>) {
        if self.status == SfnStatus::Running {
            let last = self.history.last().map_or(0, |event| event.id);
            // The event of the first state has no predecessor either, as in the real one.
            let previous = if last == 1 { 0 } else { last };
            self.history.push(HistoryEvent { id: last + 1, previous, at: Utc::now(), kind, details });
        }
    }

    /// Ends a running execution successfully, with its last event.
    pub fn succeed(&mut self, output: String) {
        let details = json!({"output": output, "outputDetails": {"truncated": false}});
        self.record("ExecutionSucceeded", Some(("executionSucceededEventDetails", details)));
        if self.close(SfnStatus::Succeeded) {
            self.output = Some(output);
        }
    }

    /// Ends a running execution with an error status, and its last event.
    pub fn end(&mut self, status: SfnStatus, error: Option<String>, cause: Option<String>) {
        let (kind, key) = match status {
            SfnStatus::TimedOut => ("ExecutionTimedOut", "executionTimedOutEventDetails"),
            SfnStatus::Aborted => ("ExecutionAborted", "executionAbortedEventDetails"),
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

    fn close(&mut self, status: SfnStatus) -> bool {
        let open = self.status == SfnStatus::Running;
        if open {
            self.status = status;
            self.stopped = Some(Utc::now());
            self.cancel.cancel();
        }
        open
    }
}
