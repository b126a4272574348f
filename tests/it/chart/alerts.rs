//! The alerts as Prometheus evaluates them: promtool checks the rules that the chart renders, and tests them with `alerts/*.yaml`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::{RULE, ask, case, cases, chart, documents, objects, only, render3, root};
use crate::streams_clients::program;

/// The rendered rules for a namespace and a release named `panda`, with all defaults.
pub fn rules() -> Value {
    only(&objects("minimal", &["--api-versions", RULE]), "PrometheusRule")["spec"].clone()
}

fn alerts(rules: &mut Value) -> &mut Vec<Value> {
    rules["groups"][0]["rules"].as_array_mut().unwrap()
}

/// Runs promtool on these files; panics with its output when it fails.
fn promtool(args: &[&str], files: &[PathBuf]) {
    let output = Command::new(program(&["promtool"])).args(args).args(files).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "promtool {args:?}: {said}");
}

#[test]
fn alerts__promtool_accepts_every_case() {
    let folder = tempfile::tempdir().unwrap();
    let texts: Vec<String> =
        cases().iter().map(|name| render3(&chart(), &case(name), &["--api-versions", RULE])).collect();
    let mut files = Vec::new();
    for (name, objects) in cases().iter().zip(documents(&texts)) {
        for rule in objects.iter().filter(|object| object["kind"] == "PrometheusRule") {
            let file = folder.path().join(format!("{name}.yaml"));
            std::fs::write(&file, rule["spec"].to_string()).unwrap();
            files.push(file);
        }
    }
    // One case disables the alerts.
    assert_eq!(files.len(), cases().len() - 1);
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &files);
}

/// The files of rule tests, sorted.
fn rule_tests() -> Vec<PathBuf> {
    let files = std::fs::read_dir(root().join("tests/it/chart/alerts")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn alerts__fire_after_their_time_and_not_below_threshold() {
    let folder = tempfile::tempdir().unwrap();
    let mut rules = rules();
    for alert in alerts(&mut rules) {
        // promtool compares all annotations; these are the same for every case, and are tested elsewhere.
        for fixed in ["description", "runbook_url"] {
            let text = alert["annotations"].as_object_mut().unwrap().remove(fixed).unwrap();
            assert!(!text.as_str().unwrap().contains("{{"), "{text} depends on a measured value: add a rule test");
        }
    }
    std::fs::write(folder.path().join("rules.yaml"), rules.to_string()).unwrap();
    let copy = |file: &PathBuf| {
        let copy = folder.path().join(file.file_name().unwrap());
        std::fs::copy(file, &copy).unwrap();
        copy
    };
    promtool(&["test", "rules"], &rule_tests().iter().map(copy).collect::<Vec<_>>());
}

/// Evaluation time in minutes.
fn minutes(evaluation: &Value) -> u32 {
    let text = evaluation["eval_time"].as_str().unwrap();
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<u32>().unwrap() * if unit == "h" { 60 } else { 1 }
}

/// Expectations for one alert in one test of a file: evaluation times when it fires, and when it does not.
#[derive(Default)]
struct Expectations {
    fires: Vec<u32>,
    silent: Vec<u32>,
}

fn expectations() -> BTreeMap<String, Vec<Expectations>> {
    let mut all: BTreeMap<String, Vec<Expectations>> = BTreeMap::new();
    let read = ask(&json!({"do": "values", "paths": rule_tests()}));
    let tests = read.as_array().unwrap().iter().flat_map(|file| file["tests"].as_array().unwrap());
    for test in tests {
        let mut of_test: BTreeMap<String, Expectations> = BTreeMap::new();
        for evaluation in test["alert_rule_test"].as_array().unwrap() {
            let expectations = of_test.entry(evaluation["alertname"].as_str().unwrap().to_owned()).or_default();
            let fires = !evaluation["exp_alerts"].as_array().unwrap().is_empty();
            if fires { &mut expectations.fires } else { &mut expectations.silent }.push(minutes(evaluation));
        }
        for (alert, expectations) in of_test {
            all.entry(alert).or_default().push(expectations);
        }
    }
    all
}

#[test]
fn alerts__every_rule_tested_before_at_and_without_firing() {
    let rule_tests = expectations();
    let mut rules = rules();
    for alert in alerts(&mut rules) {
        let name = alert["alert"].as_str().unwrap();
        let tests = rule_tests.get(name).unwrap_or_else(|| panic!("no file in tests/it/chart/alerts tests {name}"));
        let in_time =
            |expectations: &Expectations| expectations.fires.iter().any(|at| expectations.silent.contains(&(at - 1)));
        assert!(tests.iter().any(in_time), "{name}: no test shows it pending during its `for` and firing afterwards");
        assert!(
            tests.iter().any(|expectations| expectations.fires.is_empty()),
            "{name}: no test shows it silent just below its threshold"
        );
    }
    assert_eq!(
        rule_tests.len(),
        alerts(&mut rules).len(),
        "a rule test names an unknown alert: {:?}",
        rule_tests.keys()
    );
}
