//! Displays the events of a deployment: live in a terminal, as plain lines elsewhere, as JSON on request.

mod frame;
mod live;

use std::io::{IsTerminal as _, Write as _};

use serde_json::{Map, Value, json};

use self::live::LiveDisplay;
use super::api_words::as_commands;
use super::lang::text;
use super::sanitize;
use super::stream::{EventDisplay, StreamEvent};
use crate::domain::catalogue::{EventCode, Lang, render};
use crate::domain::message::{Message, message};

/// Selects the display: JSON, live when both outputs are terminals that can move the cursor, or plain lines.
pub fn display(json: bool, lang: Lang) -> Box<dyn EventDisplay> {
    let terminal = || std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    if json {
        Box::new(JsonDisplay)
    } else if terminal() && std::env::var_os("TERM").is_none_or(|name| name != "dumb") {
        Box::new(WithoutLastFailure { display: LiveDisplay::new(lang), held: None })
    } else {
        Box::new(WithoutLastFailure { display: PlainDisplay, held: None })
    }
}

/// Prints one JSON object per line: `{"id", "event", "data"}`.
#[derive(Debug)]
pub struct JsonDisplay;

impl EventDisplay for JsonDisplay {
    fn event(&mut self, event: &StreamEvent) {
        print(&sanitize::json(&json!({"id": event.id, "event": event.name, "data": event.data})));
    }

    fn connection(&mut self, broken: Option<&str>) {
        warn_connection(broken);
    }
}

/// Prints one line per event.
#[derive(Debug)]
pub struct PlainDisplay;

impl EventDisplay for PlainDisplay {
    fn event(&mut self, event: &StreamEvent) {
        print(&format!("{:<7} {}", event.name, described(event)));
    }

    fn connection(&mut self, broken: Option<&str>) {
        warn_connection(broken);
    }
}

/// Holds a failure back until another event follows: the commands report the last one themselves, first and once ([`super::watch::report`]). A failure
/// that another attempt followed is an event among others.
#[derive(Debug)]
struct WithoutLastFailure<D> {
    display: D,
    held: Option<StreamEvent>,
}

impl<D: EventDisplay> EventDisplay for WithoutLastFailure<D> {
    fn event(&mut self, event: &StreamEvent) {
        self.release();
        if event.name == "fail" {
            self.held = Some(event.clone());
        } else {
            self.display.event(event);
        }
    }

    fn connection(&mut self, broken: Option<&str>) {
        self.display.connection(broken);
    }

    fn release(&mut self) {
        if let Some(failure) = self.held.take() {
            self.display.event(&failure);
        }
    }
}

/// The message with its details. Omits ARNs: they are long, and the result has them. Of a failure only the first line: the others are output of the build.
fn described(event: &StreamEvent) -> String {
    let message = event.message();
    let mut line = match event.name.as_str() {
        "fail" => sanitize::line(&as_commands(message.lines().next().unwrap_or_default())),
        "success" => success(message),
        _ => sanitize::line(&as_commands(message)),
    };
    let details = event.data.get("details").and_then(Value::as_object);
    for (name, value) in details.into_iter().flatten().filter(|(name, _)| *name != "stage" && *name != "message") {
        // Details of a line of a build repeat the line.
        let is_new = |text: &&str| !text.starts_with("arn:") && !message.contains(*text);
        if let Some(text) = value.as_str().filter(is_new).filter(|_| name != "startedAt") {
            line.extend([" ", &sanitize::line(name), "=", &sanitize::line(text)]);
        }
    }
    line
}

/// The message of a success in the language of the terminal: the agreed catalogue has it in English only.
fn success(message: &str) -> String {
    let is = |code: EventCode| message == render(code.as_str(), &Map::new(), Lang::En).message;
    if is(EventCode::Ready) {
        text(&message!("cli.event_ready"))
    } else if is(EventCode::Completed) {
        text(&message!("cli.event_completed"))
    } else {
        sanitize::line(message)
    }
}

/// Prints a sanitised `text` on standard output, followed by a line break.
pub fn print(text: &str) {
    print_unsanitized(&sanitize::text(text));
}

/// Prints `text` with Panda's own colours. The caller must have sanitised everything else in it.
///
/// Ignores a closed standard output (`| head`), on which `println!` would panic.
pub fn print_unsanitized(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a sanitised `text` on standard error.
pub fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", sanitize::text(text));
}

fn warn_connection(broken: Option<&str>) {
    let state = match broken {
        Some(reason) => text(&reconnecting(reason)),
        None => text(&message!("cli.reconnected")),
    };
    warn(&format!("panda: {state}"));
}

fn reconnecting(reason: &str) -> Message {
    message!("cli.reconnecting", reason = sanitize::line(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, message: &str, details: &Value) -> StreamEvent {
        let data = json!({"type": name, "message": message, "details": details});
        StreamEvent { id: "1".to_owned(), name: name.to_owned(), data }
    }

    #[test]
    fn appends_details_without_arns() {
        let details = json!({"stage": 1, "path": "/w/\u{1b}[2J\u{1b}[1mDockerfile", "serviceArn": "arn:aws:x"});
        let event = event("stage", "[Stage 1] Dockerfile found", &details);
        assert_eq!(described(&event), "[Stage 1] Dockerfile found path=/w/<U+001B>[2JDockerfile");
    }

    #[test]
    fn does_not_repeat_what_the_message_says() {
        let details =
            json!({"name": "[2/4] WORKDIR /srv", "startedAt": "2026-11-30T02:21:33Z", "stage": 1, "imageName": "a:1"});
        let event = event("stage", "[Stage 1] Docker build in progress: [2/4] WORKDIR /srv: cached", &details);
        assert_eq!(described(&event), "[Stage 1] Docker build in progress: [2/4] WORKDIR /srv: cached imageName=a:1");
    }

    #[test]
    fn shows_the_first_line_of_a_failure() {
        let failed = event("fail", "Docker image build failed: exit code 1\nnpm ERR! x\nnpm ERR! y", &Value::Null);
        assert_eq!(described(&failed), "Docker image build failed: exit code 1");
    }

    #[derive(Default)]
    struct Recorded(Vec<String>);

    impl EventDisplay for Recorded {
        fn event(&mut self, event: &StreamEvent) {
            self.0.push(described(event));
        }

        fn connection(&mut self, _broken: Option<&str>) {}
    }

    #[test]
    fn holds_the_last_failure_back() {
        let mut display = WithoutLastFailure { display: Recorded::default(), held: None };
        for (name, message) in [("stage", "a"), ("fail", "first"), ("stage", "b"), ("fail", "second")] {
            display.event(&event(name, message, &Value::Null));
        }
        assert_eq!(display.display.0, ["a", "first", "b"]);
        display.release();
        display.release();
        assert_eq!(display.display.0, ["a", "first", "b", "second"]);
    }
}
