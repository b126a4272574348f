//! The history of an execution, and its pagination.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::super::epoch;
use super::super::error::AwsError;
use crate::visibility::Lag;

/// An entry as `GetExecutionHistory` returns it.
#[derive(Debug)]
pub struct HistoryEvent {
    pub id: u64,
    pub previous: u64,
    pub at: DateTime<Utc>,
    pub kind: &'static str,
    /// Name and value of the member with the details.
    pub details: Option<(&'static str, Value)>,
}

/// An event that a page shows.
pub trait ShownEvent {
    fn id(&self) -> u64;
    fn shown(&self, with_data: bool) -> Value;
}

/// Removes what AWS leaves out when `includeExecutionData` is false.
pub(super) fn without_data(details: &mut Value) {
    if let Value::Object(fields) = details {
        for data in ["input", "output", "inputDetails", "outputDetails"] {
            fields.remove(data);
        }
    }
}

impl ShownEvent for HistoryEvent {
    fn id(&self) -> u64 {
        self.id
    }

    fn shown(&self, with_data: bool) -> Value {
        let mut event =
            json!({"id": self.id, "previousEventId": self.previous, "timestamp": epoch(self.at), "type": self.kind});
        if let Some((key, details)) = &self.details {
            let mut details = details.clone();
            if !with_data {
                without_data(&mut details);
            }
            event[*key] = details;
        }
        event
    }
}

/// Parameters of one page.
pub struct HistoryPage<'a> {
    pub arn: &'a str,
    pub size: usize,
    pub reverse: bool,
    pub with_data: bool,
    pub token: Option<&'a str>,
    /// Age at which events become visible.
    pub lag: Lag,
    pub seed: u64,
}

impl HistoryPage<'_> {
    /// The response of `GetExecutionHistory`. Tokens name the first event of the next page, so events in between
    /// neither shift nor repeat any.
    pub fn of(&self, history: &[HistoryEvent]) -> Result<Value, AwsError> {
        let now = Utc::now();
        let age = |event: &HistoryEvent| (now - event.at).to_std().unwrap_or_default();
        let visible = |event: &&HistoryEvent| {
            self.lag.is_zero() || age(event) >= self.lag.of_event(self.seed, self.arn, event.id)
        };
        self.page(history.iter().filter(visible))
    }

    /// The response for the visible events, oldest first.
    pub fn page<'e, E: ShownEvent + 'e>(&self, visible: impl Iterator<Item = &'e E>) -> Result<Value, AwsError> {
        let start = self.token.map(|token| self.parse(token)).transpose()?;
        let events: Vec<&E> = if self.reverse {
            let mut all: Vec<_> = visible.filter(|event| start.is_none_or(|start| event.id() <= start)).collect();
            all.reverse();
            all
        } else {
            visible.filter(|event| start.is_none_or(|start| event.id() >= start)).collect()
        };
        let page = &events[..events.len().min(self.size)];
        let mut answer = json!({"events": page.iter().map(|event| event.shown(self.with_data)).collect::<Vec<_>>()});
        if let Some(next) = events.get(self.size) {
            answer["nextToken"] = json!(URL_SAFE_NO_PAD.encode(format!("{}|{}|{}", next.id(), self.reverse, self.arn)));
        }
        Ok(answer)
    }

    fn parse(&self, token: &str) -> Result<u64, AwsError> {
        let bad = || AwsError::new("InvalidToken", "Invalid Token: 'The token is not one of this history and order'");
        let text =
            URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(bad)?;
        let mut parts = text.splitn(3, '|');
        let id = parts.next().and_then(|id| id.parse().ok()).ok_or_else(bad)?;
        let same = parts.next() == Some(if self.reverse { "true" } else { "false" }) && parts.next() == Some(self.arn);
        if same { Ok(id) } else { Err(bad()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(length: u64) -> Vec<HistoryEvent> {
        let event = |id| HistoryEvent { id, previous: id - 1, at: Utc::now(), kind: "TaskStarted", details: None };
        (1..=length).map(event).collect()
    }

    fn page(size: usize, reverse: bool, token: Option<&str>) -> HistoryPage<'_> {
        HistoryPage { arn: "arn:x", size, reverse, with_data: true, token, lag: Lag::default(), seed: 0 }
    }

    fn ids(answer: &Value) -> Vec<u64> {
        answer["events"].as_array().unwrap().iter().map(|event| event["id"].as_u64().unwrap()).collect()
    }

    #[test]
    fn paginates_in_both_orders() {
        let mut events = history(5);
        for (reverse, wanted) in [(false, [vec![1, 2], vec![3, 4], vec![5]]), (true, [vec![5, 4], vec![3, 2], vec![1]])]
        {
            let mut token: Option<String> = None;
            for expected in wanted {
                let answer = page(2, reverse, token.as_deref()).of(&events).unwrap();
                assert_eq!(ids(&answer), expected);
                token = answer["nextToken"].as_str().map(str::to_owned);
            }
            assert_eq!(token, None);
        }
        // An event that is added during a backward read is not on later pages.
        let token = page(2, true, None).of(&events).unwrap()["nextToken"].as_str().unwrap().to_owned();
        events.extend(history(6).pop());
        assert_eq!(ids(&page(2, true, Some(&token)).of(&events).unwrap()), [3, 2]);
    }

    #[test]
    fn rejects_foreign_tokens() {
        let events = history(3);
        let token = page(1, false, None).of(&events).unwrap()["nextToken"].as_str().unwrap().to_owned();
        assert_eq!(page(1, true, Some(&token)).of(&events).unwrap_err().code, "InvalidToken");
        assert_eq!(page(1, false, Some("nonsense")).of(&events).unwrap_err().code, "InvalidToken");
    }

    #[test]
    fn hides_recent_events_while_lagging() {
        let mut lagging = page(10, false, None);
        lagging.lag = Lag { delay_ms: 60_000, jitter_ms: 0 };
        assert!(ids(&lagging.of(&history(3)).unwrap()).is_empty());
    }
}
