//! Events of a history, reduced to what a deployment depends on.

use std::collections::BTreeMap;

/// One event of `GetExecutionHistory`, reduced to the parts that Panda acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEvent {
    /// Id within the execution, from 1, without gaps.
    pub id: i64,
    /// Id of the event that caused this one; 0 where there is none. Branches interleave in one history, so that is seldom `id - 1` there.
    pub previous: i64,
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
        /// Input of the state as JSON text; absent if AWS withheld it.
        input: Option<String>,
    },
    /// `TaskStateExited` (any state type's `…StateExited`).
    StateExited {
        /// Name of the state machine's state.
        name: String,
        /// Output and variables of the state.
        output: ExitOutput,
    },
    /// A task, branch, iteration, map run or evaluation failed, timed out or was aborted: a state's exit that names this event is a Catch.
    Failure {
        /// Error name that the event has.
        error: Option<String>,
        /// Cause text that the event has.
        cause: Option<String>,
    },
    /// `ExecutionSucceeded`: the state machine has ended well, which does not say where the traffic is.
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
    /// `ExecutionRedriven`: an execution that had failed runs again.
    Redriven,
    /// Any other known event: it moves the cursor, and no failure passes through it.
    Progress,
    /// An event of a type that this version does not know: a failure that it names passes through it.
    Unknown,
}

/// What a state's exit says about the state's result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitOutput {
    /// Output as JSON text; absent if AWS withheld it.
    pub text: Option<String>,
    /// Set if AWS cut `text`.
    pub truncated: bool,
    /// Variables that the state assigned, as JSON texts by name.
    pub variables: BTreeMap<String, String>,
}
