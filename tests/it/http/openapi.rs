//! The OpenAPI document and its page: consistent, described, with examples that are valid requests.

use std::collections::{BTreeMap, BTreeSet};

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{Api, fixture, unreachable_db};
use crate::support::db::TestDb;

/// Collects every `$ref` below `value`.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn openapi__served_and_consistent() {
    let api = Api::serve(&unreachable_db()).await;
    let document = api.get("/api-docs/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let parsed: utoipa::openapi::OpenApi = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&parsed).unwrap(), document, "parsing and writing it changes nothing");
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} is not defined");
    }
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            assert!(operations.insert(operation["operationId"].as_str().unwrap()), "operation ids differ");
            assert!(operation["summary"].is_string() && !operation["tags"].as_array().unwrap().is_empty(), "{path}");
            let named = |name: &str| {
                let parameters = operation["parameters"].as_array();
                parameters.is_some_and(|all| {
                    all.iter().any(|one| one["name"] == name && one["in"] == "path" && one["required"] == true)
                })
            };
            assert_eq!(path.contains("{id}"), named("id"), "{path}");
        }
    }
}

#[tokio::test]
async fn openapi__every_field_described() {
    let document = serde_json::to_value(panda::http::document()).unwrap();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
        for (field, property) in schema["properties"].as_object().unwrap() {
            // A nullable field refers to its type beside `null`.
            let mut types = Vec::new();
            references(property, &mut types);
            let described = property["description"].is_string() || !types.is_empty();
            assert!(described, "{name}.{field} has no description");
        }
    }
}

/// Swagger UI sends a form as it is prefilled.
#[tokio::test]
async fn openapi__examples_are_valid_requests() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let document = api.get("/api-docs/openapi.json").await.json();
    let (mut parameters, mut bodies) = (0, BTreeMap::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(
                    parameter["required"] == true || parameter.get("example").is_none(),
                    "{method} {path}: {parameter}"
                );
                parameters += usize::from(parameter.get("example").is_some());
            }
            let content = &operation["requestBody"]["content"]["application/json"];
            let first = content["examples"].as_object().and_then(|all| Some(all.values().next()?["value"].clone()));
            if let Some(example) = content.get("example").cloned().or(first) {
                bodies.insert(format!("{method} {path}"), example);
            }
        }
    }
    assert!(parameters > 5, "path parameters keep theirs");
    let deploy = json!({
        "githubConnectionId": "gh_4k1zq0v7w3m9x2c8b5n6", "awsConnectionId": "aws_4k1zq0v7w3m9x2c8b5n6", "owner": "acme", "repo": "shop", "branch": "main",
    });
    assert_eq!(bodies["post /api/v1/deploy"], deploy);
    assert_eq!(bodies["post /api/v1/schedules"], json!({"cron": "30 6 * * MON-FRI", "deploy": deploy}));
    assert_eq!(bodies["patch /api/v1/schedules/{id}"], json!({"paused": true}));

    let (github, aws) = fixture::connections(&db.db).await;
    let mut deploy = deploy;
    (deploy["githubConnectionId"], deploy["awsConnectionId"]) = (json!(github), json!(aws));
    let made = api.post("/api/v1/deploy", &deploy).await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert!(made.text.ends_with("}\n"), "a shell's prompt follows on a new line: {:?}", made.text);
    let refused = api.get("/api/v1/deploy/dep_x/result").await;
    assert!(refused.text.ends_with("}\n"), "{:?}", refused.text);
    let started = made.json()["data"]["startedAt"].as_str().unwrap().to_owned();
    assert_eq!(started.len(), "2026-01-31T09:30:00.123Z".len(), "{started}");
}

#[tokio::test]
async fn api_page__served() {
    let api = Api::serve(&unreachable_db()).await;
    let page = api.get("/swagger-ui").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("swagger-ui"), "{}", page.text);
    let script = api.get("/swagger-ui/swagger-initializer.js").await;
    assert!(script.text.contains("/api-docs/openapi.json"), "{}", script.text);
}
