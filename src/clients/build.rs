//! What every builder reports: progress while it builds, and whose fault a failure is.

use std::collections::VecDeque;
use std::fmt;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::ClientError;
use super::docker::ContextError;
use crate::domain::dockerfile::Need;
pub use crate::domain::failure::BuildFault;

/// Progress of a build.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// A line of output.
    Line {
        /// Number of the step that printed it; none where the builder has no steps.
        step: Option<u32>,
        /// The line, without control characters.
        text: String,
    },
    /// A step ended.
    Ended(BuildStep),
}

/// A step of a build, such as one `RUN`, that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildStep {
    /// From 1, in the order in which the steps started.
    pub number: u32,
    /// Its instruction, as one line of at most 300 characters.
    pub name: String,
    /// When it started, by the builder's clock.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether its result came from the cache.
    pub cached: bool,
    /// Why it failed.
    pub error: Option<String>,
}

/// As a line of output: `[2/3] RUN make: 12.3 s`.
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

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The builder could not be asked, or broke off.
    #[error(transparent)]
    Builder(#[from] ClientError),
    /// The repository has no usable context: nothing was built.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The builder would build another image than current BuildKit, or none: nothing was built.
    #[error("{}", listed(.0))]
    Unsupported(Vec<Need>),
    /// The build failed.
    #[error("{message}")]
    Failed {
        /// Whose fault it is.
        fault: BuildFault,
        /// The builder's own reason, at most 1,000 characters.
        message: String,
        /// The last lines of output, oldest first, at most 20.
        last_lines: Vec<String>,
    },
}

fn listed(needs: &[Need]) -> String {
    needs.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// How many of the last lines a failed build keeps.
const LAST_LINES: usize = 20;

/// What a line costs beside its own bytes: each becomes an event.
pub const LINE_COST: usize = 64;

/// The last line of an output that is longer than it may be.
const NOT_KEPT: &str = "… (the rest of the output is not kept: PANDA_BUILD_MAX_OUTPUT)";

/// Passes a build's progress on, up to a number of bytes, and remembers the last lines for a failure.
pub(super) struct BuildLog {
    sender: mpsc::Sender<Progress>,
    /// Bytes that may still be passed on; none once the limit was reported.
    room: Option<usize>,
    last: VecDeque<(Option<u32>, String)>,
}

impl BuildLog {
    pub(super) fn new(sender: mpsc::Sender<Progress>, most_bytes: usize) -> Self {
        Self { sender, room: Some(most_bytes), last: VecDeque::with_capacity(LAST_LINES) }
    }

    /// Passes on a line. A receiver that is gone does not stop the build.
    pub(super) async fn line(&mut self, step: Option<u32>, text: String) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back((step, text.clone()));
        let Some(room) = self.room else { return };
        self.room = room.checked_sub(text.len() + LINE_COST);
        let text = if self.room.is_some() { text } else { NOT_KEPT.to_owned() };
        let _ = self.sender.send(Progress::Line { step, text }).await;
    }

    /// Passes on the end of a step. Their number is bounded by the builder, so that they are kept whatever the output's size.
    pub(super) async fn ended(&mut self, step: BuildStep) {
        let _ = self.sender.send(Progress::Ended(step)).await;
    }

    /// The last lines, oldest first: those of `step` where it printed any.
    pub(super) fn last_lines(&self, step: Option<u32>) -> Vec<String> {
        let of_step = step.is_some() && self.last.iter().any(|(printed_by, _)| *printed_by == step);
        let lines = self.last.iter().filter(|(printed_by, _)| !of_step || *printed_by == step);
        lines.map(|(_, line)| line.clone()).collect()
    }
}
