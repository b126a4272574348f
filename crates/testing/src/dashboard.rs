//! The chart's dashboards, as Grafana reads them.

use serde_json::Value;

use crate::{root, text};

/// File names of the dashboards, sorted.
pub fn names() -> Vec<String> {
    let files = std::fs::read_dir(root().join("helm/panda/dashboards")).unwrap();
    let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Parses the dashboard of a file name.
pub fn read(name: &str) -> Value {
    serde_json::from_str(&text(&format!("helm/panda/dashboards/{name}")))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Panels without the row separators.
pub fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = dashboard["panels"].as_array().unwrap();
    all.iter().filter(|panel| panel["type"] != "row").collect()
}

/// Queries of a panel; fails when there are none.
pub fn targets(panel: &Value) -> &[Value] {
    let targets = panel["targets"].as_array().unwrap();
    assert!(!targets.is_empty(), "{} has no query", panel["title"]);
    targets
}
