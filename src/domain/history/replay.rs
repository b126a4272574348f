//! Reads the stored histories of a deployment again, and compares what today's reader produces with what was published.
//!
//! Each history is read twice: event by event, which assigns each published event to its cause, and in whole, which must give the same.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::event::{HistoryEvent, HistoryKind};
use super::memory::Memory;
use super::raw::RawEvent;
use super::reader::{Reader, Reading, Verdict};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::names::Names;

/// Codes of the events that the reader produces.
pub const READER_CODES: [EventCode; 6] = [
    EventCode::InfraStarted,
    EventCode::InfraCompleted,
    EventCode::BlueGreenStarted,
    EventCode::BlueRunning,
    EventCode::GreenReady,
    EventCode::BlueGreenInProgress,
];

/// Events of one execution that an attempt acted on together.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPiece {
    /// Attempt that acted on them.
    pub attempt: i32,
    /// ARN that `GetExecutionHistory` was called with.
    pub execution_arn: String,
    /// The events, ascending, without gaps.
    pub events: Vec<RawEvent>,
}

/// An event that was published, of one of [`READER_CODES`].
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Attempt that published it.
    pub attempt: i32,
    /// Code of the event.
    pub code: String,
    /// Values for the placeholders of its text.
    pub params: Map<String, Value>,
}

/// How an attempt ended, or its present state.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptEnd {
    /// Number of the attempt.
    pub attempt: i32,
    /// Error code of a failed attempt.
    pub error_code: Option<String>,
    /// Facts of the attempt.
    pub facts: Facts,
}

/// One finding: a history event with what it leads to, or a difference that belongs to none.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Attempt that acted on the event.
    pub attempt: i32,
    /// Id of the history event; none for a difference that belongs to no event.
    pub event_id: Option<i64>,
    /// AWS's name of the event's type.
    pub event_type: Option<String>,
    /// Time of the event (AWS clock).
    pub at: Option<DateTime<Utc>>,
    /// Codes of the events that today's reader produces.
    pub produced: Vec<String>,
    /// Codes of the events that were published.
    pub published: Vec<String>,
    /// The difference; none where both are equal.
    pub difference: Option<String>,
}

/// Reads `pieces`, which are in the order of their commits, again.
pub fn replay(
    names: &Names,
    account: &str,
    pieces: &[StoredPiece],
    published: &[Published],
    ends: &[AttemptEnd],
) -> Vec<Finding> {
    let mut replayed = Replayed { names, account, left: published.to_vec(), findings: Vec::new() };
    let mut memory: Option<(String, Memory)> = None;
    let same = |one: &StoredPiece, other: &StoredPiece| {
        one.attempt == other.attempt && one.execution_arn == other.execution_arn
    };
    let runs: Vec<&[StoredPiece]> = pieces.chunk_by(same).collect();
    for (at, run) in runs.iter().enumerate() {
        let Some(first) = run.first() else { continue };
        // A further attempt that follows the same execution continues with what the earlier one knew, and emits its own events.
        let known = memory.take().filter(|(arn, _)| *arn == first.execution_arn);
        let known = known.map(|(_, memory)| memory.for_further_attempt()).unwrap_or_default();
        let last_of_attempt =
            runs.get(at + 1).and_then(|next| next.first()).is_none_or(|next| next.attempt != first.attempt);
        let end = ends.iter().find(|end| end.attempt == first.attempt).filter(|_| last_of_attempt);
        memory = Some((first.execution_arn.clone(), replayed.run(run, known, end)));
    }
    replayed.unmatched();
    replayed.findings
}

struct Replayed<'a> {
    names: &'a Names,
    account: &'a str,
    /// Published events that no history event has led to yet.
    left: Vec<Published>,
    findings: Vec<Finding>,
}

impl Replayed<'_> {
    /// Reads what one attempt acted on of one execution. Returns the memory that the deployment stored in the end.
    fn run(&mut self, run: &[StoredPiece], known: Memory, end: Option<&AttemptEnd>) -> Memory {
        let raw: Vec<&RawEvent> = run.iter().flat_map(|piece| &piece.events).collect();
        let (Some(piece), Some(first)) = (run.first(), raw.first()) else { return known };
        let (attempt, arn, before) = (piece.attempt, piece.execution_arn.as_str(), first.id - 1);
        let accounts: Vec<&str> = [Some(self.account), arn.split(':').nth(4)].into_iter().flatten().collect();
        let reader = Reader { names: self.names, accounts: &accounts };
        let history: Vec<HistoryEvent> = raw.iter().map(|event| event.event()).collect();
        let mut produced = Vec::new();
        let mut memory = known.clone();
        for (at, event) in history.iter().enumerate() {
            let mut reading = reader.read(std::slice::from_ref(event), event.id - 1, std::mem::take(&mut memory));
            memory = std::mem::take(&mut reading.memory);
            self.event(attempt, raw[at], &reading.events);
            produced.append(&mut reading.events);
            let redriven = history[at + 1..].iter().any(|later| later.kind == HistoryKind::Redriven);
            if reading.verdict.is_some() && !(redriven && matches!(reading.verdict, Some(Verdict::Failed { .. }))) {
                self.ignored(attempt, &raw[at + 1..]);
                break;
            }
        }
        let whole = reader.read(&history, before, known.clone());
        if whole.events != produced {
            self.differs(attempt, "read in whole, the history gives other events than read event by event".to_owned());
        }
        if let Some(id) = whole.missing {
            self.differs(attempt, format!("event {id} is not stored"));
        }
        if let Some(end) = end {
            self.compare_end(attempt, &whole, end);
        }
        // A piece that decides is committed together with the end of the step, whose state keeps the memory of the piece before.
        let deciding = run.last().and_then(|piece| piece.events.first()).map_or(before, |first| first.id - 1);
        if whole.verdict.is_none() {
            return whole.memory;
        }
        let undecided: Vec<HistoryEvent> = history.into_iter().filter(|event| event.id <= deciding).collect();
        reader.read(&undecided, before, known).memory
    }

    /// Compares what one history event leads to with the next published events of the same codes.
    fn event(&mut self, attempt: i32, raw: &RawEvent, produced: &[Event]) {
        let mut finding = Finding::of(attempt, raw);
        for event in produced {
            let code = event.code.as_str();
            finding.produced.push(code.to_owned());
            let place = self.left.iter().position(|left| left.attempt == attempt && left.code == code);
            match place.map(|place| self.left.remove(place)) {
                None => finding.differs(format!("{code} was not published")),
                Some(published) => {
                    finding.published.push(published.code);
                    if let Some(difference) = differing(&event.params, &published.params) {
                        finding.differs(format!("{code}: {difference}"));
                    }
                }
            }
        }
        if raw.cut {
            finding.differs("its texts are too large to be stored, so it cannot be compared".to_owned());
        }
        self.findings.push(finding);
    }

    /// Events after the one that decides today, which were acted on.
    fn ignored(&mut self, attempt: i32, later: &[&RawEvent]) {
        for raw in later {
            let mut finding = Finding::of(attempt, raw);
            finding.differs("today's reader decides before this event".to_owned());
            self.findings.push(finding);
        }
    }

    fn compare_end(&mut self, attempt: i32, whole: &Reading, end: &AttemptEnd) {
        let (mut read, mut known) = (whole.facts.clone(), end.facts.clone());
        let names = Facts::TEXTS;
        for ((name, read), known) in names.into_iter().zip(read.texts_mut()).zip(known.texts_mut()) {
            if read.is_some() && read != known {
                let (read, known) = (read.as_deref().unwrap_or_default(), known.as_deref().unwrap_or("nothing"));
                self.differs(attempt, format!("{name} is read as {read}, and was stored as {known}"));
            }
        }
        let failures = [ErrorCode::ExecutionFailed, ErrorCode::ExecutionTimedOut, ErrorCode::ExecutionAborted];
        let ended = end.error_code.as_deref().filter(|code| failures.iter().any(|failure| failure.as_str() == *code));
        let read = match &whole.verdict {
            Some(Verdict::Failed { code, .. }) => Some(code.as_str()),
            _ => None,
        };
        // An attempt that was cancelled, or exceeded a limit, ends with another code.
        if ended.is_some() && ended != read {
            let (read, ended) = (read.unwrap_or("no failure"), ended.unwrap_or_default());
            self.differs(attempt, format!("the history is read as {read}, and the attempt ended with {ended}"));
        } else if let (Some(read), None) = (read, &end.error_code) {
            self.differs(attempt, format!("the history is read as {read}, and the attempt did not fail"));
        }
    }

    /// Reports published events that no history event leads to.
    fn unmatched(&mut self) {
        for published in std::mem::take(&mut self.left) {
            let mut finding = Finding { published: vec![published.code.clone()], ..Finding::none(published.attempt) };
            finding.differs(format!("{} was published, and no stored history event leads to it", published.code));
            self.findings.push(finding);
        }
    }

    fn differs(&mut self, attempt: i32, difference: String) {
        self.findings.push(Finding { difference: Some(difference), ..Finding::none(attempt) });
    }
}

impl Finding {
    fn none(attempt: i32) -> Self {
        let (produced, published) = (Vec::new(), Vec::new());
        Self { attempt, event_id: None, event_type: None, at: None, produced, published, difference: None }
    }

    fn of(attempt: i32, raw: &RawEvent) -> Self {
        let event_type = Some(raw.event_type.clone());
        Self { event_id: Some(raw.id), event_type, at: raw.timestamp, ..Self::none(attempt) }
    }

    fn differs(&mut self, difference: String) {
        self.difference = Some(match self.difference.take() {
            Some(first) => format!("{first}; {difference}"),
            None => difference,
        });
    }
}

/// Names the parameters that differ.
fn differing(produced: &Map<String, Value>, published: &Map<String, Value>) -> Option<String> {
    let mut names: Vec<&String> = produced.keys().chain(published.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    let differences: Vec<String> = names
        .into_iter()
        .filter(|name| produced.get(*name) != published.get(*name))
        .map(|name| {
            format!(
                "{name} is read as {}, and was published as {}",
                shown(produced.get(name)),
                shown(published.get(name))
            )
        })
        .collect();
    (!differences.is_empty()).then(|| differences.join(", "))
}
