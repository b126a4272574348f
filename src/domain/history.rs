//! Events of a Step Functions execution's history, reduced to what a deployment depends on.

/// One event of `GetExecutionHistory`, reduced to the parts that Panda acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEvent {
    /// Id within the execution, from 1, without gaps.
    pub id: i64,
    /// Type of the event, with its relevant details.
    pub kind: HistoryKind,
}

/// Type of a history event, with its relevant details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryKind {
    /// `TaskStateEntered` (any state type's `…StateEntered`).
    StateEntered {
        /// Name of the state machine's state.
        name: String,
    },
    /// `TaskStateExited` (any state type's `…StateExited`).
    StateExited {
        /// Name of the state machine's state.
        name: String,
        /// Output of the state as JSON text; absent if AWS truncated or withheld it.
        output: Option<String>,
    },
    /// A task succeeded (`TaskSucceeded`, `LambdaFunctionSucceeded`, `ActivitySucceeded`): the exit of its state is a success.
    TaskSucceeded,
    /// A task failed or timed out (`TaskFailed`, `TaskTimedOut`, `LambdaFunctionFailed` …): unless it is retried, the exit of its
    /// state is a Catch.
    TaskFailed,
    /// `ExecutionSucceeded`: the whole execution ended well.
    Succeeded,
    /// `ExecutionFailed`: the whole execution failed.
    Failed {
        /// Error name that the execution reports.
        error: Option<String>,
        /// Cause text that the execution reports.
        cause: Option<String>,
    },
    /// `ExecutionTimedOut`: the execution exceeded its own time limit.
    TimedOut {
        /// Error name that the execution reports.
        error: Option<String>,
        /// Cause text that the execution reports.
        cause: Option<String>,
    },
    /// `ExecutionAborted`: StopExecution was called.
    Aborted {
        /// Error name that the execution reports.
        error: Option<String>,
        /// Cause text that the execution reports.
        cause: Option<String>,
    },
    /// Any other event: only advances the cursor.
    Other,
}
