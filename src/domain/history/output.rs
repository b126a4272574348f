//! Outputs of states: users and services write them, so that JSON is sought in any string, within limits of size and depth.

use serde_json::{Map, Value};

use super::event::ExitOutput;
use crate::domain::text;

/// Longest text that is parsed, in bytes. AWS limits an output to 256 KiB.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// Longest variables of one exit in total, in bytes. AWS limits one variable to 256 KiB.
const MAX_VARIABLES_BYTES: usize = 4 << 20;

/// Maximum nesting depth of objects, arrays and JSON texts that is searched.
const MAX_DEPTH: usize = 24;

/// Longest beginning of an unreadable output in a message, in characters.
const SHOWN_CHARS: usize = 40;

/// Output of a state with all JSON texts in it parsed.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// The output itself, then the assigned variables.
    roots: Vec<Value>,
    /// Why the output itself could not be read.
    pub flaw: Option<String>,
}

impl Output {
    pub fn read(exit: &ExitOutput) -> Self {
        let mut output = Self::default();
        match parsed(exit) {
            Ok(value) => output.roots.push(value),
            Err(flaw) => output.flaw = Some(flaw),
        }
        let mut left = MAX_VARIABLES_BYTES;
        let mut variables = Map::new();
        for (name, text) in &exit.variables {
            let Some(rest) = left.checked_sub(text.len()) else { break };
            left = rest;
            let value = parse(text).unwrap_or_else(|_| Value::String(text.clone()));
            variables.insert(name.clone(), value);
        }
        if !variables.is_empty() {
            output.roots.push(Value::Object(variables));
        }
        output
    }

    /// Reads a text that is not a state's output, such as its input; empty if it is not JSON.
    pub fn of_text(text: &str) -> Self {
        Self { roots: parse(text).ok().into_iter().collect(), flaw: None }
    }

    pub fn roots(&self) -> impl Iterator<Item = &Value> {
        self.roots.iter()
    }

    /// Visits the objects of the output and then of the variables, shallowest first, and returns the first result.
    pub fn find<'a, T>(&'a self, mut visit: impl FnMut(&'a Map<String, Value>) -> Option<T>) -> Option<T> {
        self.roots.iter().find_map(|root| find_in(root, &mut visit))
    }

    /// The keys of the outermost object, for messages.
    pub fn keys(&self) -> String {
        let object = self.roots.iter().find_map(Value::as_object);
        let keys: Vec<&str> = object.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        if keys.is_empty() { "no keys".to_owned() } else { format!("the keys {}", text::cut(&keys.join(", "), 120)) }
    }
}

/// Visits the objects in `root`, shallowest first, and returns the first result.
pub(super) fn find_in<'a, T>(
    root: &'a Value,
    visit: &mut impl FnMut(&'a Map<String, Value>) -> Option<T>,
) -> Option<T> {
    let mut level = vec![root];
    for _ in 0..=MAX_DEPTH {
        let mut next = Vec::new();
        for value in level {
            match value {
                Value::Object(object) => {
                    if let Some(found) = visit(object) {
                        return Some(found);
                    }
                    next.extend(object.values().filter(|value| value.is_object() || value.is_array()));
                }
                Value::Array(values) => {
                    next.extend(values.iter().filter(|value| value.is_object() || value.is_array()));
                }
                _ => {}
            }
        }
        level = next;
    }
    None
}

/// Returns the member `key`, also in the spelling of AWS SDK integrations (`clusterName`, `ClusterName`).
pub(super) fn member<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null()).or_else(|| {
        let mut pascal = key.to_owned();
        pascal.get_mut(..1)?.make_ascii_uppercase();
        object.get(&pascal).filter(|value| !value.is_null())
    })
}

fn parsed(exit: &ExitOutput) -> Result<Value, String> {
    let text = exit.text.as_deref().map(str::trim).unwrap_or_default();
    if exit.truncated {
        return Err("was truncated by AWS".to_owned());
    }
    match exit.text {
        None => Err("is absent".to_owned()),
        Some(_) if text.is_empty() => Err("is empty".to_owned()),
        Some(_) => parse(text),
    }
}

fn parse(text: &str) -> Result<Value, String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("has {} bytes, more than {MAX_TEXT_BYTES}", text.len()));
    }
    let mut value: Value = serde_json::from_str(text).map_err(|error| {
        // The parser limits the depth itself, so that nesting cannot overflow the stack.
        if error.to_string().contains("recursion limit") {
            "is nested too deeply".to_owned()
        } else if error.is_eof() {
            format!("is incomplete JSON that begins with {:?}", text::cut(text, SHOWN_CHARS))
        } else {
            format!("is not JSON: it begins with {:?}", text::cut(text, SHOWN_CHARS))
        }
    })?;
    expand(&mut value, MAX_DEPTH);
    Ok(value)
}

/// Replaces each text that is JSON by its value, to a depth of `left`.
fn expand(value: &mut Value, left: usize) {
    let Some(left) = left.checked_sub(1) else { return };
    match value {
        Value::String(text) if text.trim_start().starts_with(['{', '[', '"']) => {
            if let Ok(mut inner) = serde_json::from_str::<Value>(text) {
                expand(&mut inner, left);
                *value = inner;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| expand(value, left)),
        Value::Object(object) => object.values_mut().for_each(|value| expand(value, left)),
        _ => {}
    }
}
