//! What a reader has read, whoever it is.

use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::Value;

use crate::http::reader::Message;

/// An event as a reader reports it. EventSources give the data's text, clients/js gives its members.
#[derive(Clone, Debug, Deserialize)]
pub struct Told {
    pub id: String,
    pub event: String,
    pub data: Option<String>,
    pub message: Option<String>,
    pub details: Option<Value>,
}

impl Told {
    /// Whether this is that event: to the last byte of its data, where the reader shows it.
    fn is(&self, sent: &Message) -> bool {
        let shown = match &self.data {
            Some(data) => *data == sent.data,
            None => self.message == Some(sent.text()) && self.details.as_ref() == sent.json().get("details"),
        };
        self.id == sent.id && self.event == sent.event && shown
    }
}

/// A line that a reader reports.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Report {
    /// It will not read on.
    End { end: String },
    /// What clients/js says of its connection.
    State { state: String },
    /// An event.
    Told(Told),
}

#[derive(Debug, Default)]
struct Course {
    told: Vec<Told>,
    states: Vec<String>,
    end: Option<String>,
}

/// A reader's course, from event to event to its end.
#[derive(Clone, Debug)]
pub struct Reader {
    pub name: &'static str,
    course: Arc<Mutex<Course>>,
}

impl Reader {
    pub fn new(name: &'static str) -> Self {
        Self { name, course: Arc::default() }
    }

    /// Takes what it reports.
    pub fn took(&self, report: Report) {
        let mut course = self.course.lock().unwrap();
        match report {
            Report::End { end } => course.end = Some(end),
            Report::State { state } => course.states.push(state),
            Report::Told(told) => course.told.push(told),
        }
    }

    /// Number of events that it has read.
    pub fn count(&self) -> usize {
        self.course.lock().unwrap().told.len()
    }

    /// Whether its connection was ever in this state.
    pub fn was(&self, state: &str) -> bool {
        self.course.lock().unwrap().states.iter().any(|was| was == state)
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<String> {
        self.course.lock().unwrap().end.clone()
    }

    /// Panics unless it read exactly `sent`: each once, in this order.
    pub fn read_exactly(&self, sent: &[Message]) {
        let course = self.course.lock().unwrap();
        for (at, (told, sent)) in course.told.iter().zip(sent).enumerate() {
            assert!(told.is(sent), "{}: event {at} is {told:?}, and was sent as {sent:?}", self.name);
        }
        assert_eq!(course.told.len(), sent.len(), "{} has read more or fewer", self.name);
    }
}
