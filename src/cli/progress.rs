//! What a person or a machine sees of a deployment while it happens: a live display in a terminal, plain lines elsewhere, JSON on demand.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::clean;
use super::stream::{StreamEvent, Viewer};
use crate::domain::catalogue::{EventCode, Lang, render};

/// Steps 1 and 2, stages 1 to 4.
const PLACES: u64 = 6;
/// Lines of build output that stay in view.
const TAIL_LINES: usize = 5;

/// The viewer for this standard output.
pub fn viewer(json: bool, lang: Lang) -> Box<dyn Viewer> {
    if json {
        Box::new(Json)
    } else if std::io::stdout().is_terminal() && std::io::stderr().is_terminal() {
        Box::new(Live::new(lang))
    } else {
        Box::new(Plain)
    }
}

/// One JSON object a line: `{"id", "event", "data"}`.
#[derive(Debug)]
pub struct Json;

impl Viewer for Json {
    fn event(&mut self, event: &StreamEvent) {
        say(&clean::json(&json!({"id": event.id, "event": event.name, "data": event.data})));
    }

    fn connection(&mut self, broken: Option<&str>) {
        announce(broken);
    }
}

/// One line an event.
#[derive(Debug)]
pub struct Plain;

impl Viewer for Plain {
    fn event(&mut self, event: &StreamEvent) {
        say(&format!("{:<7} {}", event.name, described(event)));
    }

    fn connection(&mut self, broken: Option<&str>) {
        announce(broken);
    }
}

/// A bar for the stages, a spinner with what is going on, the last lines of the build below it.
#[derive(Debug)]
pub struct Live {
    all: MultiProgress,
    stages: ProgressBar,
    now: ProgressBar,
    lines: Vec<ProgressBar>,
    tail: VecDeque<String>,
    build_prefix: String,
}

impl Live {
    /// A display that shows nothing yet.
    pub fn new(lang: Lang) -> Self {
        let all = MultiProgress::new();
        let style = |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let stages = all.add(ProgressBar::new(PLACES));
        stages.set_style(style("{bar:30.cyan/dim} {pos}/{len} {elapsed_precise:.dim}"));
        let now = all.add(ProgressBar::new_spinner());
        now.set_style(style("{spinner:.cyan} {wide_msg}"));
        now.enable_steady_tick(Duration::from_millis(100));
        // The message of build output without the output: what all such messages begin with.
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
        // A terminal that is gone is no reason to stop following.
        let _ = self.all.println(clean::text(line));
    }
}

impl Viewer for Live {
    fn event(&mut self, event: &StreamEvent) {
        if let Some(output) = event.message().strip_prefix(&self.build_prefix) {
            self.show_output(clean::line(output));
            return;
        }
        if event.name == "fail" {
            // What the build said last is what explains the failure.
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
        if let Some(place) = place(event) {
            self.stages.set_position(self.stages.position().max(place));
        }
        self.now.set_message(line);
    }

    fn connection(&mut self, broken: Option<&str>) {
        match broken {
            Some(reason) => self.now.set_message(format!("connection lost, trying again: {}", clean::line(reason))),
            None => self.now.set_message("connected again"),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.drop_output();
        self.stages.finish_and_clear();
        self.now.finish_and_clear();
    }
}

/// How far a stage event is, of [`PLACES`]: `[Step n]` comes before `[Stage n]`, and both say `n` in the details.
fn place(event: &StreamEvent) -> Option<u64> {
    let stage = event.data.get("details")?.get("stage")?.as_u64()?;
    let before = if event.message().starts_with("[Step") { 0 } else { 2 };
    Some((stage + before).min(PLACES))
}

/// The message, with the details that tell more; ARNs are long, and in the result.
fn described(event: &StreamEvent) -> String {
    let mut line = clean::line(event.message());
    let details = event.data.get("details").and_then(Value::as_object);
    for (name, value) in details.into_iter().flatten().filter(|(name, _)| *name != "stage" && *name != "message") {
        if let Some(text) = value.as_str().filter(|text| !text.starts_with("arn:")) {
            line.extend([" ", &clean::line(name), "=", &clean::line(text)]);
        }
    }
    line
}

/// Prints `text` with all that could steer the terminal made visible, wherever it came from.
pub fn say(text: &str) {
    say_as_it_is(&clean::text(text));
}

/// Prints `text` with colours of ours: whatever else is in it has passed [`clean`].
///
/// Standard output that is closed (`| head`) is not worth a panic, which `println!` would make of it.
pub fn say_as_it_is(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints `text` on standard error, as `say` does.
pub fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", clean::text(text));
}

fn announce(broken: Option<&str>) {
    let text = match broken {
        Some(reason) => format!("panda: connection lost, trying again: {}", clean::line(reason)),
        None => "panda: connected again".to_owned(),
    };
    warn(&text);
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
    fn steps_come_before_stages_though_both_count_from_one() {
        assert_eq!(place(&stage("[Step 2] Event Bus 권한 설정 완료", &json!({"stage": 2}))), Some(2));
        assert_eq!(place(&stage("[Stage 1] Repository cloned", &json!({"stage": 1}))), Some(3));
        assert_eq!(place(&stage("[Stage 4] 배포 완료", &json!({"stage": 4}))), Some(PLACES));
    }

    #[test]
    fn details_that_tell_more_stand_behind_the_message() {
        let event = stage(
            "[Stage 1] Dockerfile found",
            &json!({"stage": 1, "path": "/w/\u{1b}[2J\u{1b}[1mDockerfile", "serviceArn": "arn:aws:x"}),
        );
        assert_eq!(described(&event), "[Stage 1] Dockerfile found path=/w/<U+001B>[2JDockerfile");
    }

    #[test]
    fn build_output_is_told_from_milestones_in_both_languages() {
        for lang in [Lang::Ko, Lang::En] {
            let live = Live::new(lang);
            let params = Map::from_iter([("message".to_owned(), Value::from("Step 1/3 : FROM busybox:1"))]);
            let message = render(EventCode::BuildProgress.as_str(), &params, lang).message;
            assert_eq!(message.strip_prefix(&live.build_prefix), Some("Step 1/3 : FROM busybox:1"));
            let completed = render(EventCode::BuildCompleted.as_str(), &Map::new(), lang).message;
            assert_eq!(completed.strip_prefix(&live.build_prefix), None);
        }
    }
}
