//! Converts a build's status stream to steps: BuildKit reports vertices of a graph, in pieces and out of order.

use std::collections::HashMap;

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex};
use chrono::{DateTime, Utc};

use crate::clients::build::{BuildStep, Progress};
use crate::clients::build_output::{LineAssembler, strip_control};
use crate::domain::text;

/// Maximum length of a step's name in characters: the name of a heredoc is the whole script.
const MAX_NAME_CHARS: usize = 300;
/// Maximum length of a step's error, in characters.
const MAX_ERROR_CHARS: usize = 1_000;
/// Maximum number of tracked steps; the output of further steps is passed on without a step number.
const MAX_STEPS: usize = 2_000;

#[derive(Default)]
struct Step {
    number: Option<u32>,
    name: String,
    /// Output without a line end so far.
    lines: LineAssembler,
    started: Option<DateTime<Utc>>,
    ended: bool,
}

/// State of all steps so far.
#[derive(Default)]
pub struct Steps {
    by_digest: HashMap<String, Step>,
    count: u32,
    failed: Option<(u32, String)>,
}

impl Steps {
    /// Processes one piece of the stream; returns the progress that it completes, in order.
    pub fn take(&mut self, status: StatusResponse) -> Vec<Progress> {
        let mut updates = Vec::new();
        for vertex in status.vertexes {
            self.vertex(&vertex, &mut updates);
        }
        for log in status.logs {
            let Some(step) = self.by_digest.get_mut(&log.vertex) else { continue };
            let lines = step.lines.push(&String::from_utf8_lossy(&log.msg));
            updates.extend(lines.into_iter().map(|line| Progress::Line { step: step.number, line }));
        }
        for warning in status.warnings {
            let text = strip_control(&String::from_utf8_lossy(&warning.short));
            let step = self.by_digest.get(&warning.vertex).and_then(|step| step.number);
            updates.push(Progress::Line { step, line: format!("WARNING: {text}").into() });
        }
        updates
    }

    /// Returns number and name of the step that failed first.
    pub fn failed(&self) -> Option<(u32, &str)> {
        self.failed.as_ref().map(|(number, name)| (*number, name.as_str()))
    }

    fn vertex(&mut self, vertex: &Vertex, updates: &mut Vec<Progress>) {
        if !self.by_digest.contains_key(&vertex.digest) && self.by_digest.len() >= MAX_STEPS {
            return;
        }
        let step = self.by_digest.entry(vertex.digest.clone()).or_default();
        if step.name.is_empty() {
            step.name = name(&vertex.name);
        }
        let started = vertex.started.as_ref().and_then(time);
        if started.is_some() && step.number.is_none() {
            self.count += 1;
            step.number = Some(self.count);
            step.started = started;
            if !is_internal(&step.name) {
                updates.push(Progress::Line { step: step.number, line: step.name.clone().into() });
            }
        }
        let Some(completed) = vertex.completed.as_ref().and_then(time) else { return };
        let (Some(number), Some(started), false) = (step.number, step.started, step.ended) else { return };
        step.ended = true;
        let rest = std::mem::take(&mut step.lines).finish();
        updates.extend(rest.map(|line| Progress::Line { step: step.number, line }));
        // A step that was stopped because another one failed has the error "context canceled": it did not fail itself.
        let cancelled = vertex.error.ends_with("context canceled");
        let error = (!vertex.error.is_empty()).then(|| text::cut(&strip_control(&vertex.error), MAX_ERROR_CHARS));
        if error.is_some() && !cancelled && self.failed.is_none() {
            self.failed = Some((number, step.name.clone()));
        }
        if is_internal(&step.name) && error.is_none() {
            return;
        }
        updates.push(Progress::Ended(BuildStep {
            number,
            name: step.name.clone(),
            started_at: started,
            duration_ms: (completed - started).num_milliseconds().max(0).unsigned_abs(),
            cached: vertex.cached,
            error,
        }));
    }
}

/// Reports whether a step is internal to the builder, such as reading the Dockerfile.
pub fn is_internal(name: &str) -> bool {
    name.starts_with("[internal]")
}

/// Shortens a name to one line, for names that are whole scripts.
fn name(text: &str) -> String {
    let line: String = strip_control(text).split_whitespace().collect::<Vec<_>>().join(" ");
    text::cut(&line, MAX_NAME_CHARS)
}

fn time(timestamp: &Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(timestamp.seconds, timestamp.nanos.try_into().ok()?)
}
