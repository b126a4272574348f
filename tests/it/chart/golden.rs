//! Rendered manifests and notes match the reviewed files.

use serde_json::json;

use super::{ask, case, cases, chart, files, render3, root, same_as_file};

#[test]
fn golden__manifests_unchanged() {
    for name in ["minimal", "production", "trial"] {
        let golden = root().join(format!("tests/it/chart/golden/{name}.yaml"));
        same_as_file(&golden, &render3(&chart(), &case(name), &[]));
    }
}

#[test]
fn golden__notes_unchanged() {
    let answers = ask(&json!({"do": "render", "chart": chart(), "values_files": files()}));
    for (name, answer) in cases().iter().zip(answers.as_array().unwrap()) {
        let notes = answer["manifests"]["panda/templates/NOTES.txt"].as_str().unwrap();
        let text = notes.trim().lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n";
        same_as_file(&root().join(format!("tests/it/chart/golden/{name}.notes.txt")), &text);
    }
}
