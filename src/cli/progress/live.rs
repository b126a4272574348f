//! The display in a terminal: finished events scroll up, and the lines below them show the progress. A thread repaints these lines, so that the clock
//! runs while no event arrives.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::frame::{Line, MILESTONES, ProgressArea, Size, erase};
use super::{described, reconnecting};
use crate::cli::lang::text;
use crate::cli::sanitize;
use crate::cli::stream::{EventDisplay, StreamEvent};
use crate::domain::catalogue::{EventCode, Lang, render};
use crate::domain::message::message;

/// Time between two repaints without an event.
const REPAINT_INTERVAL: Duration = Duration::from_millis(100);
/// Size of a terminal that does not report one.
const UNKNOWN: Size = Size { columns: 80, rows: 24 };

/// Shows events above a bar for the stages, the current activity and the last lines of the build.
#[derive(Debug)]
pub struct LiveDisplay {
    painter: Arc<Mutex<Painter>>,
    ticking: Option<(Sender<()>, JoinHandle<()>)>,
    build_prefix: String,
}

#[derive(Debug)]
struct Painter {
    progress: ProgressArea,
    drawn: Vec<Line>,
    began: Instant,
    tick: usize,
    colour: bool,
}

impl Painter {
    /// Replaces the lines on the terminal, below the new lines `above`. One write, so that no half-painted state is visible.
    fn paint(&mut self, above: &str) {
        let size = size();
        let mut out = erase(&self.drawn, size.columns);
        out.extend(above.lines().flat_map(|line| [line, "\r\n"]));
        self.drawn = self.progress.frame(size, self.began.elapsed(), self.tick, self.colour);
        out.extend(self.drawn.iter().flat_map(|line| [line.text.as_str(), "\r\n"]));
        write(&out);
    }
}

/// A closed terminal must not stop the command.
fn write(text: &str) {
    let mut terminal = std::io::stderr().lock();
    let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}

fn size() -> Size {
    let known =
        terminal_size::terminal_size_of(std::io::stderr()).filter(|(width, height)| width.0 > 0 && height.0 > 0);
    known.map_or(UNKNOWN, |(width, height)| Size { columns: width.0.into(), rows: height.0.into() })
}

impl LiveDisplay {
    pub fn new(lang: Lang) -> Self {
        let painter = Arc::new(Mutex::new(Painter {
            progress: ProgressArea::default(),
            drawn: Vec::new(),
            began: Instant::now(),
            tick: 0,
            colour: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        }));
        let (stop, stopped) = channel();
        let repainted = Arc::clone(&painter);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(REPAINT_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let mut painter = repainted.lock();
                painter.tick += 1;
                painter.paint("");
            }
        });
        // Render a message of build output without the output, to get the common prefix of all of them.
        let output = Map::from_iter([("message".to_owned(), Value::from(""))]);
        let build_prefix = render(EventCode::BuildProgress.as_str(), &output, lang).message;
        Self { painter, ticking: Some((stop, thread)), build_prefix }
    }
}

impl EventDisplay for LiveDisplay {
    fn event(&mut self, event: &StreamEvent) {
        let mut painter = self.painter.lock();
        if let Some(output) = event.message().strip_prefix(&self.build_prefix) {
            painter.progress.push_output(sanitize::line(output));
            return;
        }
        painter.progress.clear_output();
        let mark = match event.name.as_str() {
            "fail" => "✗",
            "success" => "★",
            _ => "✓",
        };
        let line = described(event);
        if let Some(milestone) = milestone(event) {
            painter.progress.reached = painter.progress.reached.max(milestone);
        }
        painter.progress.now.clone_from(&line);
        painter.paint(&format!("{mark} {line}"));
    }

    fn connection(&mut self, broken: Option<&str>) {
        let state = broken.map_or_else(|| message!("cli.reconnected"), reconnecting);
        self.painter.lock().progress.now = text(&state);
    }
}

impl Drop for LiveDisplay {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticking.take() {
            drop(stop);
            let _ = thread.join();
        }
        let painter = self.painter.lock();
        write(&erase(&painter.drawn, size().columns));
    }
}

/// Position of a stage event among [`MILESTONES`]: `[Step n]` precedes `[Stage n]`, and both have `n` in the details.
fn milestone(event: &StreamEvent) -> Option<u64> {
    let stage = event.data.get("details")?.get("stage")?.as_u64()?;
    let before = if event.message().starts_with("[Step") { 0 } else { 2 };
    Some((stage + before).min(MILESTONES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stage(message: &str, stage: u8) -> StreamEvent {
        let data = json!({"type": "stage", "message": message, "details": {"stage": stage}});
        StreamEvent { id: "1".to_owned(), name: "stage".to_owned(), data }
    }

    #[test]
    fn steps_precede_stages() {
        assert_eq!(milestone(&stage("[Step 2] Event Bus 권한 설정 완료", 2)), Some(2));
        assert_eq!(milestone(&stage("[Stage 1] Repository cloned", 1)), Some(3));
        assert_eq!(milestone(&stage("[Stage 4] 배포 완료", 4)), Some(MILESTONES));
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
