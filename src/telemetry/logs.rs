//! Logging to standard error, so that standard output contains only a command's result.

use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{JsonFields, debug_fn};
use tracing_subscriber::registry::LookupSpan;

use super::json::JsonLines;
use crate::domain::text::visible;

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Human-readable lines of text.
    Text,
    /// One JSON object per line.
    Json,
}

/// Default log filter of the server.
pub const SERVER_LOG: &str = "info";

/// Creates the layer that writes to standard error. JSON lines contain the name of the `replica`.
pub(super) fn layer<S>(format: LogFormat, replica: Option<String>) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).fmt_fields(fields()).boxed(),
        LogFormat::Json => {
            lines.with_ansi(false).fmt_fields(JsonFields::new()).event_format(JsonLines { replica }).boxed()
        }
    }
}

/// Formats the fields of lines and spans, with control characters escaped. Otherwise text from outside, such as an error of GitHub or of a build,
/// could forge a log line or control the reader's terminal, since the formatter of tracing-subscriber writes `%error` unescaped.
fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    debug_fn(|writer, field, value| {
        let value = visible(&format!("{value:?}")).replace('\n', "<U+000A>");
        match field.name() {
            "message" => write!(writer, "{value}"),
            // Metadata of lines from the crate `log`, already at the beginning of the line.
            name if name.starts_with("log.") => Ok(()),
            name => write!(writer, "{name}={value}"),
        }
    })
    .delimited(" ")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::domain::text::misleads;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(ansi: bool, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).without_time();
        let layer = layer.with_ansi(ansi).fmt_fields(fields());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn control_characters_are_escaped() {
        let foreign = "a\nWARN forged\r\u{1b}[2J\u{1b}[31mred\u{9b}1mb\u{202e}\u{2028}\u{e0041}";
        for ansi in [false, true] {
            let text = logged(ansi, || {
                let span = tracing::info_span!("request", caller = %foreign, late = tracing::field::Empty);
                span.record("late", tracing::field::display(foreign));
                span.in_scope(|| tracing::warn!(error = %foreign, text = foreign, "{foreign}"));
            });
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            let body = text.trim_end_matches('\n');
            assert_eq!(body.contains('\u{1b}'), ansi, "{text:?}");
            assert!(!body.contains(|c| c != '\u{1b}' && misleads(c)), "{text:?}");
            assert!(!body.contains("\u{1b}[31m") && !body.contains("\u{1b}[2J"), "{text:?}");
            assert_eq!(body.matches("<U+202E>").count(), 4, "{text:?}");
        }
    }

    #[test]
    fn ordinary_line_is_unchanged() {
        let text = logged(false, || tracing::info!(deployment = %"dep_1", attempt = 2, name = "a b", "이미지 빌드"));
        assert_eq!(text, " INFO panda::telemetry::logs::tests: 이미지 빌드 deployment=dep_1 attempt=2 name=\"a b\"\n");
    }
}
