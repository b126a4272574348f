//! CBOR, the format of Smithy RPC v2, from and to the JSON with which calls work.

use ciborium::Value as Cbor;
use serde_json::Value;

/// Tag of a time as seconds since 1970.
const EPOCH: u64 = 1;

/// Reads a body as JSON text; `None` if it is no CBOR, or none that JSON can hold. An empty body is an empty object.
pub fn to_json(body: &[u8]) -> Option<String> {
    if body.is_empty() {
        return Some("{}".to_owned());
    }
    ciborium::from_reader::<Value, _>(body).ok().map(|value| value.to_string())
}

/// Writes a value. Members whose name ends in `Timestamp` are times.
pub fn of_json(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory fails only for values that cannot be serialised, which JSON has none of.
    let _ = ciborium::into_writer(&converted(value, false), &mut bytes);
    bytes
}

fn converted(value: &Value, is_time: bool) -> Cbor {
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(value) => Cbor::Bool(*value),
        Value::Number(number) => {
            let plain = number.as_i64().map_or_else(|| Cbor::Float(number.as_f64().unwrap_or_default()), Cbor::from);
            if is_time { Cbor::Tag(EPOCH, Box::new(plain)) } else { plain }
        }
        Value::String(text) => Cbor::Text(text.clone()),
        Value::Array(items) => Cbor::Array(items.iter().map(|item| converted(item, false)).collect()),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                (Cbor::Text(name.clone()), converted(value, name.ends_with("Timestamp")))
            };
            Cbor::Map(members.iter().map(member).collect())
        }
    }
}
