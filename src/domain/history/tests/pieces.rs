//! Reading a history in any pieces gives what reading the whole gives.

use pretty_assertions::assert_eq;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::recorded::{ACCOUNTS, Recorded, all};
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::history::{HistoryEvent, HistoryKind, Memory, Reader, Verdict};
use crate::domain::names::Names;

/// All that reading a history has given so far, as a deployment stores it.
#[derive(Debug, Default, PartialEq)]
struct Followed {
    events: Vec<Event>,
    facts: Facts,
    memory: Memory,
    verdict: Option<Verdict>,
}

impl Followed {
    /// Reads what is visible, unless a decision was made before. A redriven execution is followed again, as a retry does.
    fn poll(&mut self, reader: &Reader<'_>, visible: &[HistoryEvent]) {
        let last = self.facts.last_history_event_id.unwrap_or(0);
        let redriven = visible.iter().any(|event| event.id > last && event.kind == HistoryKind::Redriven);
        if self.verdict.is_some() && !(redriven && matches!(self.verdict, Some(Verdict::Failed { .. }))) {
            return;
        }
        // The memory is stored as JSON between two polls.
        let stored = serde_json::to_value(&self.memory).unwrap();
        let reading = reader.read(visible, last, serde_json::from_value(stored).unwrap());
        self.events.extend(reading.events);
        self.facts.merge(reading.facts);
        self.memory = reading.memory;
        self.verdict = reading.verdict;
    }
}

fn whole(reader: &Reader<'_>, history: &[HistoryEvent]) -> Followed {
    let mut whole = Followed::default();
    whole.poll(reader, history);
    whole
}

fn equal(mut pieces: Followed, whole: &Followed, recorded: &Recorded, how: &str) {
    if recorded.expected.redriven {
        // The end of the first run is visible in between, as the state that it was.
        pieces.facts.polling_state.clone_from(&whole.facts.polling_state);
    }
    assert_eq!(&pieces, whole, "{} {how}", recorded.name);
}

pub fn equal_in_two_pieces(recorded: &Recorded, names: &Names) {
    let history = recorded.history();
    let reader = Reader { names, accounts: &ACCOUNTS };
    let whole = whole(&reader, &history);
    for cut in 0..=history.len() {
        let mut pieces = Followed::default();
        pieces.poll(&reader, &history[..cut]);
        pieces.poll(&reader, &history);
        equal(pieces, &whole, recorded, &format!("cut at {cut}"));
    }
}

#[test]
fn two_pieces_equal_the_whole() {
    let names = Names::default();
    for recorded in all() {
        equal_in_two_pieces(&recorded, &names);
    }
}

#[test]
fn random_pieces_equal_the_whole() {
    let (names, seed) = (Names::default(), rand::random::<u64>());
    let mut random = StdRng::seed_from_u64(seed);
    for recorded in all() {
        let history = recorded.history();
        let reader = Reader { names: &names, accounts: &ACCOUNTS };
        let whole = whole(&reader, &history);
        for _ in 0..100 {
            let mut pieces = Followed::default();
            let mut end = 0;
            while end < history.len() {
                end = random.random_range(end..=history.len());
                pieces.poll(&reader, &history[..end]);
            }
            equal(pieces, &whole, &recorded, &format!("in random pieces of seed {seed}"));
        }
    }
}

/// Events become visible in any order: reading stops at each gap, and nothing is lost.
#[test]
fn late_events_equal_the_whole() {
    let (names, seed) = (Names::default(), rand::random::<u64>());
    let mut random = StdRng::seed_from_u64(seed);
    for recorded in all() {
        let history = recorded.history();
        let reader = Reader { names: &names, accounts: &ACCOUNTS };
        let whole = whole(&reader, &history);
        for _ in 0..50 {
            let mut pieces = Followed::default();
            let mut hidden: Vec<bool> = history.iter().map(|_| random.random_bool(0.5)).collect();
            for _ in 0..20 {
                let visible =
                    history.iter().zip(&hidden).filter(|(_, hidden)| !**hidden).map(|(event, _)| event.clone());
                pieces.poll(&reader, &visible.collect::<Vec<_>>());
                for hidden in &mut hidden {
                    *hidden &= random.random_bool(0.7);
                }
            }
            pieces.poll(&reader, &history);
            equal(pieces, &whole, &recorded, &format!("with late events of seed {seed}"));
        }
    }
}

/// A reader that knew only whether the last event was a failure hands over to this one.
#[test]
fn memory_of_earlier_versions_is_understood() {
    let names = Names::default();
    let recorded = all().into_iter().find(|recorded| recorded.name == "v2_before_task").unwrap();
    let history = recorded.history();
    let reader = Reader { names: &names, accounts: &ACCOUNTS };
    let failure = history.iter().position(|event| matches!(event.kind, HistoryKind::Failure { .. })).unwrap();
    let last = history[failure].id;
    let reading = reader.read(&history, last, Memory::default().with_last_failed(true, last));
    assert!(reading.events.is_empty(), "the exit is a Catch: {:?}", reading.events);
}
