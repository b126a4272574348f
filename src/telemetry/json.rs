//! Log lines as flat JSON objects.
//!
//! Log stores filter by top-level members. The JSON formatter of tracing-subscriber nests the fields of spans in lists, where
//! Loki and CloudWatch do not find `deployment`. This formatter puts them beside the fields of the line; inner spans override outer ones.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime as _;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::domain::text::visible_json;

/// Members of every line. A field with one of these names gets a trailing underscore.
const RESERVED: [&str; 4] = ["timestamp", "level", "target", "message"];

/// The JSON formatter of log lines.
pub(super) struct JsonLines {
    /// `None` in a process that is not a server.
    pub(super) replica: Option<String>,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Map::new();
        if let Some(replica) = &self.replica {
            fields.insert("replica".to_owned(), replica.as_str().into());
        }
        for span in context.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            if let Some(of_span) = span.extensions().get::<FormattedFields<N>>() {
                add(&mut fields, &of_span.fields, span_field_name);
            }
        }
        let mut own = String::new();
        context.format_fields(Writer::new(&mut own), event)?;
        add(&mut fields, &own, str::to_owned);
        // Lines of libraries that use the crate `log` share a single callsite, and carry their metadata as fields.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());

        writer.write_str("{\"timestamp\":\"")?;
        tracing_subscriber::fmt::time().format_time(&mut writer)?;
        let mut rest = format!("\",\"level\":\"{}\",\"target\":{}", metadata.level(), Value::from(metadata.target()));
        if let Some(message) = fields.remove("message") {
            write!(rest, ",\"message\":{message}")?;
        }
        for (name, value) in &fields {
            let name = if RESERVED.contains(&name.as_str()) { format!("{name}_") } else { name.clone() };
            write!(rest, ",{}:{value}", Value::from(name))?;
        }
        // These lines are also read in terminals, which must not interpret control characters in them.
        writeln!(writer, "{}}}", visible_json(&rest))
    }
}

/// Adds the members of `object`, a JSON text of formatted fields. `name` maps their names; an empty name drops the member.
fn add(fields: &mut Map<String, Value>, object: &str, name: impl Fn(&str) -> String) {
    let Ok(Value::Object(members)) = serde_json::from_str(object) else { return };
    for (member, value) in members {
        let name = name(&member);
        if !name.is_empty() {
            fields.insert(name, value);
        }
    }
}

/// Maps the name of a span's field to its name in log lines. Fields that only serve traces are dropped.
fn span_field_name(field: &str) -> String {
    match field {
        // A span's `message` must not replace the message of the line.
        "otel.name" => "call".to_owned(),
        "message" => String::new(),
        field if field.starts_with("otel.") => String::new(),
        field => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Buffer {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// Returns the lines that `log` writes.
    fn lines(log: impl FnOnce()) -> Vec<String> {
        let buffer = Buffer::default();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(buffer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines { replica: Some("vm/1".to_owned()) });
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn line(log: impl FnOnce()) -> Value {
        let lines = lines(log);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        serde_json::from_str(&lines[0]).unwrap()
    }

    #[test]
    fn span_fields_are_top_level_members() {
        let line = line(|| {
            let outer = tracing::info_span!("deployment", deployment = %"dep_1", attempt = 2);
            let inner = tracing::info_span!(parent: &outer, "step", step = "build_image", late = tracing::field::Empty);
            inner.record("late", "later");
            inner.in_scope(|| tracing::warn!(tries = 3, ok = false, wait = 0.5, "it failed"));
        });
        let expected = serde_json::json!({
            "level": "WARN", "target": "panda::telemetry::json::tests", "message": "it failed", "replica": "vm/1", "deployment": "dep_1",
            "attempt": 2, "step": "build_image", "late": "later", "tries": 3, "ok": false, "wait": 0.5, "timestamp": line["timestamp"],
        });
        assert_eq!(line, expected);
        let at = line["timestamp"].as_str().unwrap();
        assert!(at.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(at).is_ok(), "{at}");
    }

    #[test]
    fn inner_span_overrides_outer_and_root_has_no_span_fields() {
        let line_of_inner = line(|| {
            let _outer = tracing::info_span!("a", step = "outer", other = 1).entered();
            let _inner = tracing::info_span!("b", step = "inner").entered();
            tracing::info!(other = 2, "said");
        });
        assert_eq!((&line_of_inner["step"], &line_of_inner["other"]), (&"inner".into(), &2.into()));
        let root = line(|| {
            let _outer = tracing::info_span!("a", step = "outer").entered();
            tracing::info!(parent: None, "said");
        });
        assert!(root.get("step").is_none(), "{root}");
    }

    #[test]
    fn line_breaks_are_escaped() {
        let line = line(|| tracing::info!(text = "a\nb\u{1b}[31m\u{2028}\"", "first\nsecond"));
        assert_eq!((&line["text"], &line["message"]), (&"a\nb\u{1b}[31m\u{2028}\"".into(), &"first\nsecond".into()));
    }

    #[test]
    fn control_characters_are_escaped() {
        let lines = lines(|| tracing::info!(text = "\u{202e}\u{9b}2J\u{e0041}", "m\u{2066}\r"));
        assert!(!lines.concat().contains(crate::domain::text::misleads), "{lines:?}");
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((&line["text"], &line["message"]), (&"\u{202e}\u{9b}2J\u{e0041}".into(), &"m\u{2066}\r".into()));
    }

    #[test]
    fn fields_do_not_replace_reserved_members() {
        let line = line(|| {
            let _span = tracing::info_span!(
                "a",
                message = "of the span",
                level = 3,
                otel.name = "docker build",
                otel.kind = "client"
            )
            .entered();
            tracing::info!(target = "elsewhere", timestamp = 0, "said");
        });
        assert_eq!((&line["message"], &line["level"]), (&"said".into(), &"INFO".into()));
        assert_eq!(
            (&line["target_"], &line["level_"], &line["timestamp_"]),
            (&"elsewhere".into(), &3.into(), &0.into())
        );
        assert_eq!(line["call"], "docker build");
        assert!(line.get("otel.kind").is_none(), "{line}");
    }
}
