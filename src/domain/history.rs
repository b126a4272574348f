//! The history of a Step Functions execution, as far as a deployment depends on it.

/// One event of `GetExecutionHistory`, reduced to what is acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEvent {
    /// Its id in the execution: 1 for the first, without gaps.
    pub id: i64,
    /// What happened.
    pub kind: HistoryKind,
}

/// What a history event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryKind {
    /// `TaskStateEntered` (any state type's `…StateEntered`).
    StateEntered {
        /// The state's name.
        name: String,
    },
    /// `TaskStateExited` (any state type's `…StateExited`).
    StateExited {
        /// The state's name.
        name: String,
        /// The state's output: JSON in a string, absent when AWS truncated or withheld it.
        output: Option<String>,
    },
    /// A task's work succeeded (`TaskSucceeded`, `LambdaFunctionSucceeded`, `ActivitySucceeded`): its state's exit is a success.
    TaskSucceeded,
    /// A task's work failed or timed out (`TaskFailed`, `TaskTimedOut`, `LambdaFunctionFailed` …): unless it is retried, its
    /// state's exit is a Catch.
    TaskFailed,
    /// `ExecutionSucceeded`.
    Succeeded,
    /// `ExecutionFailed`.
    Failed {
        /// The execution's error name.
        error: Option<String>,
        /// The execution's cause.
        cause: Option<String>,
    },
    /// `ExecutionTimedOut`.
    TimedOut {
        /// The execution's error name.
        error: Option<String>,
        /// The execution's cause.
        cause: Option<String>,
    },
    /// `ExecutionAborted`.
    Aborted {
        /// The execution's error name.
        error: Option<String>,
        /// The execution's cause.
        cause: Option<String>,
    },
    /// Anything else: it moves the cursor and is otherwise of no interest.
    Other,
}
