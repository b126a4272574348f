//! Types that all builders report: progress of a build, and the cause of its failure.

use std::collections::VecDeque;
use std::fmt;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::ClientError;
use super::build_context::ContextError;
use super::build_output::OutputLine;
use crate::domain::dockerfile::Need;
pub use crate::domain::failure::BuildFault;

/// Progress report of a running build.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// A line of build output.
    Line {
        /// Number of the build step that printed the line; `None` for builders without steps.
        step: Option<u32>,
        /// Its text and colours.
        line: OutputLine,
    },
    /// A build step that has ended.
    Ended(BuildStep),
}

/// A finished step of a build, such as one `RUN` instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildStep {
    /// Number from 1, in the order in which the steps started.
    pub number: u32,
    /// The instruction as one line of at most 300 characters.
    pub name: String,
    /// Start time by the builder's clock.
    pub started_at: DateTime<Utc>,
    /// Duration of the step in milliseconds.
    pub duration_ms: u64,
    /// Set when the result came from the cache.
    pub cached: bool,
    /// Reason of the failure; `None` for a step that succeeded.
    pub error: Option<String>,
}

/// Formats the step as a line of output: `[2/3] RUN make: 12.3 s`.
impl fmt::Display for BuildStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.error, self.cached) {
            (Some(error), _) => write!(f, "{}: failed: {error}", self.name),
            (None, true) => write!(f, "{}: cached", self.name),
            (None, false) => {
                write!(f, "{}: {}.{} s", self.name, self.duration_ms / 1_000, self.duration_ms % 1_000 / 100)
            }
        }
    }
}

/// Reason why a build produced no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The builder is unreachable, or the connection to it was lost.
    #[error(transparent)]
    Builder(#[from] ClientError),
    /// The repository has no usable build context; nothing was built.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The builder would build a different image than current BuildKit, or none; nothing was built.
    #[error("{}", join_needs(.0))]
    Unsupported(Vec<Need>),
    /// The build itself failed.
    #[error("{message}")]
    Failed {
        /// Classification of the cause: the source, the builder, or something temporary.
        fault: BuildFault,
        /// The builder's error message, at most 1,000 characters.
        message: String,
        /// Up to 20 last lines of output, oldest first.
        last_lines: Vec<String>,
    },
}

fn join_needs(needs: &[Need]) -> String {
    needs.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Number of output lines that a failed build keeps.
const LAST_LINES: usize = 20;

/// Fixed cost of a line in bytes, in addition to its text: each line becomes an event.
pub const LINE_COST: usize = 64;

/// Replaces the first line of output beyond the limit.
const OUTPUT_TRUNCATED: &str = "… (the rest of the output is not kept: PANDA_BUILD_MAX_OUTPUT)";

/// Forwards a build's progress up to a byte limit, and keeps the last lines for the report of a failure.
pub(super) struct BuildLog {
    sender: mpsc::Sender<Progress>,
    /// Bytes that may still be forwarded; `None` once the limit was reported.
    remaining: Option<usize>,
    last: VecDeque<(Option<u32>, String)>,
}

impl BuildLog {
    pub(super) fn new(sender: mpsc::Sender<Progress>, max_bytes: usize) -> Self {
        Self { sender, remaining: Some(max_bytes), last: VecDeque::with_capacity(LAST_LINES) }
    }

    /// Forwards a line. The build continues when the receiver is gone.
    pub(super) async fn line(&mut self, step: Option<u32>, line: OutputLine) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back((step, line.text.clone()));
        let Some(remaining) = self.remaining else { return };
        let coloured = line.ansi.as_ref().map_or(0, String::len);
        self.remaining = remaining.checked_sub(line.text.len() + coloured + LINE_COST);
        let line = if self.remaining.is_some() { line } else { OUTPUT_TRUNCATED.to_owned().into() };
        let _ = self.sender.send(Progress::Line { step, line }).await;
    }

    /// Forwards the end of a step, regardless of the byte limit: the builder bounds the number of steps.
    pub(super) async fn ended(&mut self, step: BuildStep) {
        let _ = self.sender.send(Progress::Ended(step)).await;
    }

    /// Returns the last lines, oldest first: the lines of `step` if it printed any, otherwise the lines of all steps.
    pub(super) fn last_lines(&self, step: Option<u32>) -> Vec<String> {
        let of_step = step.is_some() && self.last.iter().any(|(printed_by, _)| *printed_by == step);
        let lines = self.last.iter().filter(|(printed_by, _)| !of_step || *printed_by == step);
        lines.map(|(_, line)| line.clone()).collect()
    }
}
