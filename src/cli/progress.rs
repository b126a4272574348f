//! Displays the events of a deployment: live in a terminal, as plain lines elsewhere, as JSON on request.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::lang::text;
use super::sanitize;
use super::stream::{EventDisplay, StreamEvent};
use crate::domain::catalogue::{EventCode, Lang, render};
use crate::domain::message::{Message, message};

/// Length of the progress bar: steps 1 and 2, then stages 1 to 4.
const MILESTONES: u64 = 6;
/// Lines of build output that stay visible.
const TAIL_LINES: usize = 5;

/// Selects the display: JSON, live when both outputs are terminals, or plain lines.
pub fn display(json: bool, lang: Lang) -> Box<dyn EventDisplay> {
    if json {
        Box::new(JsonDisplay)
    } else if std::io::stdout().is_terminal() && std::io::stderr().is_terminal() {
        Box::new(LiveDisplay::new(lang))
    } else {
        Box::new(PlainDisplay)
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

/// Shows a bar for the stages, a spinner with the current activity, and the last lines of the build below.
#[derive(Debug)]
pub struct LiveDisplay {
    all: MultiProgress,
    stages: ProgressBar,
    now: ProgressBar,
    lines: Vec<ProgressBar>,
    tail: VecDeque<String>,
    build_prefix: String,
}

impl LiveDisplay {
    pub fn new(lang: Lang) -> Self {
        let all = MultiProgress::new();
        let style = |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let stages = all.add(ProgressBar::new(MILESTONES));
        stages.set_style(style("{bar:30.cyan/dim} {pos}/{len} {elapsed_precise:.dim}"));
        let now = all.add(ProgressBar::new_spinner());
        now.set_style(style("{spinner:.cyan} {wide_msg}"));
        now.enable_steady_tick(Duration::from_millis(100));
        // Render a message of build output without the output, to get the common prefix of all of them.
        let output = Map::from_iter([("message".to_owned(), Value::from(""))]);
        let build_prefix = render(EventCode::BuildProgress.as_str(), &output, lang).message;
        Self { all, stages, now, lines: Vec::new(), tail: VecDeque::new(), build_prefix }
    }

    fn show_output(&mut self, line: String) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
        while self.lines.len() < self.tail.len() {
            let bar = self.all.add(ProgressBar::new_spinner());
            bar.set_style(
                ProgressStyle::with_template("  {wide_msg:.dim}").unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            self.lines.push(bar);
        }
        for (bar, line) in self.lines.iter().zip(&self.tail) {
            bar.set_message(line.clone());
        }
    }

    fn drop_output(&mut self) {
        for bar in self.lines.drain(..) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        self.tail.clear();
    }

    fn print(&self, line: &str) {
        // A closed terminal must not stop the command.
        let _ = self.all.println(sanitize::text(line));
    }
}

impl EventDisplay for LiveDisplay {
    fn event(&mut self, event: &StreamEvent) {
        if let Some(output) = event.message().strip_prefix(&self.build_prefix) {
            self.show_output(sanitize::line(output));
            return;
        }
        if event.name == "fail" {
            // The last lines of the build explain the failure.
            for line in std::mem::take(&mut self.tail) {
                self.print(&format!("    {line}"));
            }
        }
        self.drop_output();
        let mark = match event.name.as_str() {
            "fail" => "✗",
            "success" => "★",
            _ => "✓",
        };
        let line = described(event);
        self.print(&format!("{mark} {line}"));
        if let Some(milestone) = milestone(event) {
            self.stages.set_position(self.stages.position().max(milestone));
        }
        self.now.set_message(line);
    }

    fn connection(&mut self, broken: Option<&str>) {
        match broken {
            Some(reason) => self.now.set_message(text(&reconnecting(reason))),
            None => self.now.set_message(text(&message!("cli.reconnected"))),
        }
    }
}

impl Drop for LiveDisplay {
    fn drop(&mut self) {
        self.drop_output();
        self.stages.finish_and_clear();
        self.now.finish_and_clear();
    }
}

/// Position of a stage event in the bar of [`MILESTONES`]: `[Step n]` precedes `[Stage n]`, and both have `n` in the details.
fn milestone(event: &StreamEvent) -> Option<u64> {
    let stage = event.data.get("details")?.get("stage")?.as_u64()?;
    let before = if event.message().starts_with("[Step") { 0 } else { 2 };
    Some((stage + before).min(MILESTONES))
}

/// The message with its details. Omits ARNs: they are long, and the result has them.
fn described(event: &StreamEvent) -> String {
    let mut line = sanitize::line(event.message());
    let details = event.data.get("details").and_then(Value::as_object);
    for (name, value) in details.into_iter().flatten().filter(|(name, _)| *name != "stage" && *name != "message") {
        if let Some(text) = value.as_str().filter(|text| !text.starts_with("arn:")) {
            line.extend([" ", &sanitize::line(name), "=", &sanitize::line(text)]);
        }
    }
    line
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

    fn stage(message: &str, details: &Value) -> StreamEvent {
        StreamEvent {
            id: "1".to_owned(),
            name: "stage".to_owned(),
            data: json!({"type": "stage", "message": message, "details": details}),
        }
    }

    #[test]
    fn steps_precede_stages() {
        assert_eq!(milestone(&stage("[Step 2] Event Bus 권한 설정 완료", &json!({"stage": 2}))), Some(2));
        assert_eq!(milestone(&stage("[Stage 1] Repository cloned", &json!({"stage": 1}))), Some(3));
        assert_eq!(milestone(&stage("[Stage 4] 배포 완료", &json!({"stage": 4}))), Some(MILESTONES));
    }

    #[test]
    fn appends_details_without_arns() {
        let event = stage(
            "[Stage 1] Dockerfile found",
            &json!({"stage": 1, "path": "/w/\u{1b}[2J\u{1b}[1mDockerfile", "serviceArn": "arn:aws:x"}),
        );
        assert_eq!(described(&event), "[Stage 1] Dockerfile found path=/w/<U+001B>[2JDockerfile");
    }

    #[test]
    fn recognises_build_output_in_both_languages() {
        for lang in [Lang::Ko, Lang::En] {
            let live = LiveDisplay::new(lang);
            let params = Map::from_iter([("message".to_owned(), Value::from("Step 1/3 : FROM busybox:1"))]);
            let message = render(EventCode::BuildProgress.as_str(), &params, lang).message;
            assert_eq!(message.strip_prefix(&live.build_prefix), Some("Step 1/3 : FROM busybox:1"));
            let completed = render(EventCode::BuildCompleted.as_str(), &Map::new(), lang).message;
            assert_eq!(completed.strip_prefix(&live.build_prefix), None);
        }
    }
}
