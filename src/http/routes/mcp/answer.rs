//! Answers of tools: bounded, without control characters, and with the names of the fields whose text others wrote.

use rmcp::model::CallToolResult;
use serde::Serialize;
use serde_json::{Value, json};

use super::error::McpError;
use crate::domain::lang::Lang;
use crate::domain::message::message;
use crate::domain::text;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

/// Largest answer, in bytes of JSON.
pub const MAX_RESULT: usize = 256 * 1024;

/// Longest text of a field, in characters: a line of a build may have thousands.
const MAX_TEXT: usize = 2_000;

/// What a tool read or requested.
#[derive(Debug)]
pub struct ToolAnswer {
    data: Value,
    untrusted: &'static [&'static str],
    next: Option<Value>,
}

impl ToolAnswer {
    /// Creates an answer. `untrusted` are the paths of the fields that hold text of builds, commits and people.
    pub fn new(data: &impl Serialize, untrusted: &'static [&'static str]) -> Self {
        // Structures of the API, whose serialisation cannot fail.
        let mut data = serde_json::to_value(data).unwrap_or_default();
        clean(&mut data);
        Self { data, untrusted, next: None }
    }

    /// Sets the arguments with which the next call reads on; none if nothing is left.
    #[must_use]
    pub fn next(mut self, next: Option<Value>) -> Self {
        self.next = next;
        self
    }

    /// Builds the result of the call.
    ///
    /// # Errors
    /// It is larger than [`MAX_RESULT`].
    pub fn result(self, lang: Lang) -> Result<CallToolResult, ApiError> {
        let mut note = message!("mcp.untrusted").text(lang);
        if self.next.is_some() {
            note = format!("{note} {}", message!("mcp.more").text(lang));
        }
        let whole = json!({"data": self.data, "untrusted": self.untrusted, "next": self.next, "note": note});
        if whole.to_string().len() > MAX_RESULT {
            return Err(McpError::ResultTooLarge { max: MAX_RESULT }.into());
        }
        Ok(CallToolResult::structured(whole))
    }
}

/// The result of a refused call: the problem that the API answers, with its stable code and remedy.
pub fn refusal(problem: Problem, lang: Lang) -> CallToolResult {
    let wait = problem.wait_seconds();
    let mut error = json!(problem.in_language(lang));
    if let Some(members) = error.as_object_mut() {
        members.remove("instance");
        members.extend(wait.map(|seconds| ("retryAfterSeconds".to_owned(), json!(seconds))));
    }
    clean(&mut error);
    CallToolResult::structured_error(json!({"error": error}))
}

/// Removes control sequences of terminals from all texts, makes other misleading characters visible, and truncates long texts.
fn clean(value: &mut Value) {
    match value {
        Value::String(string) => *string = clean_text(string),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(members) => {
            // Names of labels and of build arguments are texts of people as well.
            if members.keys().any(|name| name.contains(text::misleads)) {
                *members =
                    std::mem::take(members).into_iter().map(|(name, value)| (text::visible(&name), value)).collect();
            }
            members.values_mut().for_each(clean);
        }
        _ => {}
    }
}

fn clean_text(string: &str) -> String {
    let plain = string.replace('\t', " ").replace("\r\n", "\n");
    let plain = if plain.contains('\u{1b}') { strip_ansi_escapes::strip_str(plain) } else { plain };
    text::visible(&text::cut(&plain, MAX_TEXT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_no_control_characters() {
        let mut value = json!({"lines": ["\u{1b}[31mred\u{1b}[0m\tx\r\n", "a\u{202e}b\u{0}"], "long": "x".repeat(3_000), "a\u{7}": 1});
        clean(&mut value);
        assert_eq!(value["lines"], json!(["red x\n", "a<U+202E>b\u{fffd}"]));
        assert_eq!(value["long"].as_str().unwrap().chars().count(), MAX_TEXT);
        assert_eq!(value["a<U+0007>"], 1);
    }

    #[test]
    fn large_result_is_refused() {
        let rows: Vec<String> = (0..200).map(|_| "x".repeat(1_900)).collect();
        let refused = ToolAnswer::new(&rows, &[]).result(Lang::En).unwrap_err();
        assert_eq!(refused.code(), "MCP_RESULT_TOO_LARGE");
    }
}
