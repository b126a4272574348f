//! Helm 3.6 and Helm 4.2 both lint cleanly, and render the same from the same values.

use serde_json::{Value, json};

use super::{KUBERNETES, ask, case, cases, chart, documents, files, helm3, name, render3};

/// Notes for people, which Kubernetes never sees.
const NOTES: &str = "panda/templates/NOTES.txt";

/// Kinds without a schema in Kubernetes: the Prometheus operator's.
const FOREIGN: &str = "monitoring.coreos.com/v1";

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(name);
    objects
}

/// The objects of every case under Helm 4.
fn helm4() -> Vec<Vec<Value>> {
    let answers = ask(&json!({"do": "render", "chart": chart(), "values_files": files()}));
    let texts: Vec<String> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| {
            let manifests = answer["manifests"].as_object().unwrap_or_else(|| panic!("{answer:#}"));
            let yaml = manifests.iter().filter(|(path, _)| *path != NOTES);
            yaml.map(|(_, text)| text.as_str().unwrap()).collect::<Vec<_>>().join("\n---\n")
        })
        .collect();
    documents(&texts)
}

#[test]
fn helm_3__lint_clean() {
    for name in cases() {
        let (chart, values) = (chart(), case(&name));
        let output = helm3(&["lint", "--strict", &chart.to_string_lossy(), "--values", &values.to_string_lossy()]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {said}");
        assert!(!said.contains("[WARNING]") && !said.contains("[ERROR]"), "{name}: {said}");
    }
}

#[test]
fn helm_4__lint_clean() {
    const WARNING: i64 = 2;
    let answers = ask(&json!({"do": "lint", "chart": chart(), "values_files": files()}));
    for (name, answer) in cases().iter().zip(answers.as_array().unwrap()) {
        assert_eq!(answer["errors"], json!([]), "{name}: {answer:#}");
        let worst =
            answer["messages"].as_array().unwrap().iter().filter_map(|message| message["severity"].as_i64()).max();
        assert!(worst.unwrap_or(0) < WARNING, "{name}: {answer:#}");
    }
}

#[test]
fn helm__versions_render_the_same() {
    let texts: Vec<String> = files().iter().map(|file| render3(&chart(), file, &[])).collect();
    for ((name, three), four) in cases().iter().zip(documents(&texts)).zip(helm4()) {
        assert!(three.len() > 3, "{name}: {three:?}");
        pretty_assertions::assert_eq!(sorted(three), sorted(four), "{}", name);
    }
}

#[test]
fn manifests__valid_for_every_kubernetes() {
    let texts: Vec<String> = files().iter().map(|file| render3(&chart(), file, &[])).collect();
    let answer = ask(&json!({"do": "validate", "texts": texts, "versions": KUBERNETES, "foreign": [FOREIGN]}));
    assert_eq!(answer["complaints"], json!([]), "{answer:#}");
    let least = KUBERNETES.len() * cases().len() * 4;
    assert!(answer["checked"].as_u64().unwrap() > least as u64, "{answer:#}");
}

#[test]
fn manifests__unknown_object_detected() {
    let mut text = render3(&chart(), &case("minimal"), &[]);
    assert!(text.contains("maxUnavailable: 1"));
    text = text.replace("maxUnavailable: 1", "maxUnavailible: 1");
    let answer = ask(&json!({"do": "validate", "texts": [text], "versions": ["1.30"], "foreign": []}));
    assert!(answer["complaints"][0].as_str().unwrap().contains("maxUnavailible"), "{answer:#}");
}
