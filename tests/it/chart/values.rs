//! values.yaml, values.schema.json and the test values files are consistent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{ask, chart, files, text};

/// Collects the value at each path of `value`, as `a.b.c`; an empty map or a list is one value.
fn leaves(value: &Value, at: &str, all: &mut BTreeMap<String, Value>) {
    match value.as_object().filter(|members| !members.is_empty()) {
        Some(members) => {
            for (key, value) in members {
                leaves(value, &if at.is_empty() { key.clone() } else { format!("{at}.{key}") }, all);
            }
        }
        None => drop(all.insert(at.to_owned(), value.clone())),
    }
}

/// The defaults by path.
fn defaults() -> BTreeMap<String, Value> {
    let answer = ask(&json!({"do": "values", "paths": [chart().join("values.yaml")]}));
    let mut all = BTreeMap::new();
    leaves(&answer[0], "", &mut all);
    assert!(all.len() > 100, "{all:?}");
    all
}

/// The value at a dotted path.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| &value[key])
}

#[test]
fn chart_values__each_changed_in_some_case() {
    let all = [files(), super::clusters::files()].concat();
    let cases = ask(&json!({"do": "values", "paths": all}));
    let cases = cases.as_array().unwrap();
    let defaults = &ask(&json!({"do": "values", "paths": [chart().join("values.yaml")]}))[0];
    let same = |path: &str| {
        cases.iter().all(|case| {
            let value = at(case, path);
            value.is_null() || value == at(defaults, path)
        })
    };
    let untried: Vec<String> =
        super::readme::rows().into_iter().map(|row| row.path).filter(|path| same(path)).collect();
    assert!(untried.is_empty(), "no file in helm/panda/ci or tests/it/chart/clusters changes these: {untried:#?}");
}

#[test]
fn chart_values__have_default_and_description() {
    fn properties(schema: &Value, at: &str, all: &mut BTreeSet<String>) {
        for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
            let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
            if schema["properties"].is_object() && path != "config" {
                properties(schema, &path, all);
            } else {
                all.insert(path);
            }
        }
    }
    let schema: Value = serde_json::from_str(&text("helm/panda/values.schema.json")).unwrap();
    let mut known = BTreeSet::new();
    properties(&schema, "", &mut known);
    // Helm's own values, and those with a default in Kubernetes.
    known.retain(|path| {
        path != "global" && !path.ends_with(".initialDelaySeconds") && !path.ends_with(".successThreshold")
    });
    let described: BTreeSet<String> = super::readme::rows().into_iter().map(|row| row.path).collect();
    let covered = |path: &String| described.iter().any(|row| row == path || path.starts_with(&format!("{row}.")));
    let missing: Vec<&String> = known.iter().filter(|path| !covered(path)).collect();
    assert!(missing.is_empty(), "values.yaml lacks {missing:#?}");
    let unsaid: Vec<String> = defaults().into_keys().filter(|path| !covered(path)).collect();
    assert!(unsaid.is_empty(), "these have no description (# --) in values.yaml: {unsaid:#?}");
}
