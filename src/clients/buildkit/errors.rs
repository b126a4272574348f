//! Explains a failed `Solve`: BuildKit attaches typed details to its errors, as JSON.

use bollard_buildkit_proto::google::rpc;
use prost::Message as _;
use serde::Deserialize;
use tonic::{Code, Status};

use super::CALL;
use crate::clients::build::BuildError;
use crate::clients::build_context::ContextError;
use crate::clients::build_faults;
use crate::clients::build_output::strip_control;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::text;

/// Maximum length of a failed build's message, in characters.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// Relevant error details; empty for daemons that are too old to send them.
#[derive(Debug, Default, PartialEq)]
struct Details {
    /// Line of the Dockerfile, starting at 1.
    line: Option<u64>,
    /// Exit code of a RUN step's process.
    exit_code: Option<i64>,
}

#[derive(Deserialize)]
struct Source {
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct Range {
    start: Position,
}

#[derive(Deserialize)]
struct Position {
    line: u64,
}

#[derive(Deserialize)]
struct ExitMessage {
    #[serde(rename = "Code", default)]
    code: i64,
}

impl Details {
    fn of(status: &Status) -> Self {
        let mut details = Self::default();
        for detail in rpc::Status::decode(status.details()).unwrap_or_default().details {
            let json = detail.value.as_slice();
            if detail.type_url.ends_with("errdefs.Source+json") {
                let source = serde_json::from_slice::<Source>(json).ok();
                // The first location is the innermost.
                details.line = details.line.or_else(|| Some(source?.ranges.first()?.start.line));
            } else if detail.type_url.ends_with("ExitMessage+json") {
                details.exit_code = serde_json::from_slice::<ExitMessage>(json).ok().map(|exit| exit.code);
            }
        }
        details
    }
}

/// Explains `status`. `step` is the name of the step that failed first, `unreadable` the error from reading the context.
pub(super) fn explain(
    status: &Status,
    step: Option<&str>,
    unreadable: Option<String>,
    last_lines: Vec<String>,
) -> BuildError {
    if let Some(message) = unreadable {
        return ContextError::Entry(message).into();
    }
    let message = strip_control(status.message());
    // The connection or the daemon ended, not the build.
    if matches!(status.code(), Code::Unavailable | Code::Cancelled) && step.is_none() {
        return ClientError::new(ErrorKind::Unavailable, CALL, message).into();
    }
    let details = Details::of(status);
    let fault = build_faults::of(step, details.exit_code, &message);
    let mut message = text::cut(&message, MAX_MESSAGE_CHARS);
    if let Some(line) = details.line {
        message = format!("Dockerfile:{line}: {message}");
    }
    BuildError::Failed { fault, message, last_lines }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_buildkit_proto::google::protobuf::Any;

    #[test]
    fn reads_typed_details() {
        let any = |type_url: &str, json: &str| Any { type_url: type_url.to_owned(), value: json.as_bytes().to_vec() };
        let status = rpc::Status {
            code: 2,
            message: "x".to_owned(),
            details: vec![
                any("github.com/moby/buildkit/stack.Stack+json", r#"{"frames":[]}"#),
                any(
                    "github.com/moby/buildkit/errdefs.Source+json",
                    r#"{"info":{"filename":"Dockerfile"},"ranges":[{"start":{"line":3},"end":{"line":5}}]}"#,
                ),
                any("github.com/moby/buildkit/gatewayapi.ExitMessage+json", r#"{"Code":137}"#),
            ],
        };
        let status = Status::with_details(Code::Unknown, "x", status.encode_to_vec().into());
        assert_eq!(Details::of(&status), Details { line: Some(3), exit_code: Some(137) });
        assert_eq!(Details::of(&Status::unknown("x")), Details::default());
    }
}
