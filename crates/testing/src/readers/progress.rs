//! The events that any kind of reader has received.

use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::Value;

use crate::sse::Message;

/// An event as a reader reports it. EventSources report the data's text, clients/js reports its fields.
#[derive(Clone, Debug, Deserialize)]
pub struct ReceivedEvent {
    pub id: String,
    pub event: String,
    pub data: Option<String>,
    pub message: Option<String>,
    pub details: Option<Value>,
}

impl ReceivedEvent {
    /// Compares with the event `sent`, to the last byte of its data where the reader shows it.
    fn is(&self, sent: &Message) -> bool {
        let shown = match &self.data {
            Some(data) => *data == sent.data,
            None => self.message == Some(sent.text()) && self.details.as_ref() == sent.json().get("details"),
        };
        self.id == sent.id && self.event == sent.event && shown
    }
}

/// A line of a reader's report.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Report {
    /// It has stopped reading.
    End {
        end: String,
    },
    /// A connection state of clients/js.
    State {
        state: String,
    },
    ReceivedEvent(ReceivedEvent),
}

#[derive(Debug, Default)]
struct Course {
    received: Vec<ReceivedEvent>,
    states: Vec<String>,
    end: Option<String>,
}

/// The progress of a reader, from event to event to its end.
#[derive(Clone, Debug)]
pub struct ForeignReader {
    pub name: &'static str,
    course: Arc<Mutex<Course>>,
}

impl ForeignReader {
    pub fn new(name: &'static str) -> Self {
        Self { name, course: Arc::default() }
    }

    pub fn record(&self, report: Report) {
        let mut course = self.course.lock().unwrap();
        match report {
            Report::End { end } => course.end = Some(end),
            Report::State { state } => course.states.push(state),
            Report::ReceivedEvent(received) => course.received.push(received),
        }
    }

    /// Number of events that it has read.
    pub fn count(&self) -> usize {
        self.course.lock().unwrap().received.len()
    }

    /// True if its connection was ever in this state.
    pub fn was(&self, state: &str) -> bool {
        self.course.lock().unwrap().states.iter().any(|was| was == state)
    }

    /// The reason of its end, if it has ended.
    pub fn end(&self) -> Option<String> {
        self.course.lock().unwrap().end.clone()
    }

    /// Panics unless it read exactly `sent`: each once, in this order.
    pub fn read_exactly(&self, sent: &[Message]) {
        let course = self.course.lock().unwrap();
        for (at, (received, sent)) in course.received.iter().zip(sent).enumerate() {
            assert!(received.is(sent), "{}: event {at} is {received:?}, and was sent as {sent:?}", self.name);
        }
        assert_eq!(course.received.len(), sent.len(), "{} has read a different number of events", self.name);
    }
}
