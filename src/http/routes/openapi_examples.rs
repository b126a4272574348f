//! Examples of the OpenAPI document. Swagger UI fills its forms with them, so that a request sent unchanged has only what is required: an example of an
//! optional field or parameter would filter, page or contradict another field.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi as OpenApiDocument;

/// Optional fields that a request needs nevertheless: one of several, or at least one.
const NEEDED: [(&str, &str); 5] = [
    ("ConnectGithub", "token"),
    ("RenewGithub", "token"),
    ("Deploy", "branch"),
    ("ScheduledDeploy", "branch"),
    ("ScheduleChange", "paused"),
];
/// Deepest nesting of an example.
const MAX_DEPTH: usize = 5;

/// The document with examples of required fields and parameters only. The examples of optional parameters move into their descriptions.
pub fn of_required_only(document: OpenApiDocument) -> OpenApiDocument {
    // Both conversions are of the document's own types; a failure leaves it as it is.
    let Ok(mut value) = serde_json::to_value(&document) else { return document };
    let schemas = value.pointer("/components/schemas").cloned().unwrap_or_default();
    let paths = value.get_mut("paths").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    for operation in paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        parameters.into_iter().flatten().for_each(describe_example);
        if let Some(content) = operation.pointer_mut("/requestBody/content/application~1json") {
            add_example(content, &schemas);
        }
    }
    serde_json::from_value(value).unwrap_or(document)
}

fn describe_example(parameter: &mut Value) {
    if parameter["required"] == true {
        return;
    }
    let Some(members) = parameter.as_object_mut() else { return };
    let Some(example) = members.remove("example") else { return };
    let example = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
    let description = members.get("description").and_then(Value::as_str).unwrap_or_default();
    let described = format!("{description} Example: `{example}`.").trim_start().to_owned();
    members.insert("description".to_owned(), Value::String(described));
}

fn add_example(content: &mut Value, schemas: &Value) {
    if content.get("example").or_else(|| content.get("examples")).is_some() {
        return;
    }
    if let Some(example) = content.get("schema").and_then(|schema| example(schema, schemas, MAX_DEPTH)) {
        content["example"] = example;
    }
}

fn example(schema: &Value, schemas: &Value, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let Some(reference) = schema.get("$ref").and_then(Value::as_str) else {
        return schema.get("example").or_else(|| schema.pointer("/examples/0")).cloned();
    };
    let name = reference.rsplit('/').next()?;
    let schema = schemas.get(name)?;
    let properties = schema.get("properties")?.as_object()?;
    let required: Vec<&Value> = schema.get("required").and_then(Value::as_array).into_iter().flatten().collect();
    let fields = properties
        .iter()
        .filter(|(field, _)| required.contains(&&json!(field)) || NEEDED.contains(&(name, field.as_str())));
    Some(fields.filter_map(|(field, property)| Some((field.clone(), example(property, schemas, depth)?))).collect())
}
