//! The alerts, as Prometheus reads them: promtool checks the rules that the chart renders, and plays `alerts/*.yaml` on them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::{RULE, ask, case, cases, chart, documents, objects, only, render3, root};
use crate::streams_clients::program;

/// The rules as the chart has them for a namespace and a release named `panda`, with all defaults.
pub fn rules() -> Value {
    only(&objects("minimal", &["--api-versions", RULE]), "PrometheusRule")["spec"].clone()
}

/// The alerts among rules.
fn alerts(rules: &mut Value) -> &mut Vec<Value> {
    rules["groups"][0]["rules"].as_array_mut().unwrap()
}

/// Runs promtool on these files; panics with what it says when it finds something.
fn promtool(args: &[&str], files: &[PathBuf]) {
    let output = Command::new(program(&["promtool"])).args(args).args(files).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "promtool {args:?}: {said}");
}

#[test]
fn promtool_accepts_the_rules_of_every_case() {
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
    // In one case they are switched off.
    assert_eq!(files.len(), cases().len() - 1);
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &files);
}

/// The files with what is played, sorted.
fn played() -> Vec<PathBuf> {
    let files = std::fs::read_dir(root().join("tests/it/chart/alerts")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn each_alert_fires_after_its_time_and_not_in_the_case_just_below() {
    let folder = tempfile::tempdir().unwrap();
    let mut rules = rules();
    for alert in alerts(&mut rules) {
        // promtool compares all annotations; these are the same for every case, and are read elsewhere.
        for fixed in ["description", "runbook_url"] {
            let text = alert["annotations"].as_object_mut().unwrap().remove(fixed).unwrap();
            assert!(!text.as_str().unwrap().contains("{{"), "{text} depends on what is measured: play it, too");
        }
    }
    std::fs::write(folder.path().join("rules.yaml"), rules.to_string()).unwrap();
    let copy = |file: &PathBuf| {
        let copy = folder.path().join(file.file_name().unwrap());
        std::fs::copy(file, &copy).unwrap();
        copy
    };
    promtool(&["test", "rules"], &played().iter().map(copy).collect::<Vec<_>>());
}

/// When something is looked at, in minutes.
fn minutes(look: &Value) -> u32 {
    let text = look["eval_time"].as_str().unwrap();
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<u32>().unwrap() * if unit == "h" { 60 } else { 1 }
}

/// What is expected of one alert in one test of a file.
#[derive(Default)]
struct Looks {
    fires: Vec<u32>,
    silent: Vec<u32>,
}

fn looks() -> BTreeMap<String, Vec<Looks>> {
    let mut all: BTreeMap<String, Vec<Looks>> = BTreeMap::new();
    let read = ask(&json!({"do": "values", "paths": played()}));
    let tests = read.as_array().unwrap().iter().flat_map(|file| file["tests"].as_array().unwrap());
    for test in tests {
        let mut of_test: BTreeMap<String, Looks> = BTreeMap::new();
        for look in test["alert_rule_test"].as_array().unwrap() {
            let looks = of_test.entry(look["alertname"].as_str().unwrap().to_owned()).or_default();
            let fires = !look["exp_alerts"].as_array().unwrap().is_empty();
            if fires { &mut looks.fires } else { &mut looks.silent }.push(minutes(look));
        }
        for (alert, looks) in of_test {
            all.entry(alert).or_default().push(looks);
        }
    }
    all
}

#[test]
fn each_alert_is_played_one_look_before_it_fires_when_it_fires_and_where_it_never_does() {
    let played = looks();
    let mut rules = rules();
    for alert in alerts(&mut rules) {
        let name = alert["alert"].as_str().unwrap();
        let tests = played.get(name).unwrap_or_else(|| panic!("no file in tests/it/chart/alerts plays {name}"));
        let in_time = |looks: &Looks| looks.fires.iter().any(|at| looks.silent.contains(&(at - 1)));
        assert!(tests.iter().any(in_time), "{name} is not seen to wait for its `for` and to fire then");
        assert!(tests.iter().any(|looks| looks.fires.is_empty()), "{name} is not seen to stay silent just below");
    }
    assert_eq!(played.len(), alerts(&mut rules).len(), "something is played that is no alert: {:?}", played.keys());
}
