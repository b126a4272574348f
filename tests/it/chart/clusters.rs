//! Values files as real clusters use them, one file in `clusters/` each. Comments at its top say how it is rendered and what must come out:
//!
//! - `release: NAME`, `args: …`: the release's name instead of `panda`, further arguments of Helm;
//! - `expect: KIND[/NAME] POINTER JSON`: a value of an object; `absent` instead of JSON, or of the pointer, for none;
//! - `expect: KIND env VARIABLE JSON`, `expect: alert NAME POINTER JSON`: a variable of the first container, an alert;
//! - `refuse: TEXT`: Helm fails, and its message contains the text;
//! - `empty`: nothing is rendered.
//!
//! Every file that renders is also checked for what no object may have.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{KUBERNETES, ask, chart, documents, helm3, name, pod_of, root};

/// Kinds without a schema in Kubernetes.
const FOREIGN: [&str; 7] = [
    "external-secrets.io/v1",
    "gateway.networking.k8s.io/v1",
    "gateway.networking.k8s.io/v1alpha3",
    "keda.sh/v1alpha1",
    "monitoring.coreos.com/v1",
    "networking.istio.io/v1",
    "secrets-store.csi.x-k8s.io/v1",
];

/// A values file and the comments at its top.
struct Cluster {
    file: PathBuf,
    comments: Vec<String>,
}

impl Cluster {
    fn name(&self) -> String {
        self.file.file_stem().unwrap().to_string_lossy().into_owned()
    }

    fn all(&self, word: &str) -> Vec<&str> {
        let prefix = format!("{word}: ");
        self.comments.iter().filter_map(|line| line.strip_prefix(&prefix)).collect()
    }

    fn is_refused(&self) -> bool {
        !self.all("refuse").is_empty()
    }

    fn is_plain(&self) -> bool {
        self.all("release").is_empty() && self.all("args").is_empty()
    }

    /// Renders with Helm 3.6: manifests, or the error.
    fn render(&self) -> Result<String, String> {
        let (chart, file) = (chart(), &self.file);
        let (chart, file) = (chart.to_string_lossy(), file.to_string_lossy());
        let release = self.all("release").first().copied().unwrap_or("panda");
        let fixed =
            ["template", release, &chart, "--values", &file, "--namespace", "panda", "--kube-version", "1.30.0"];
        let more: Vec<&str> = self.all("args").iter().flat_map(|args| args.split(' ')).collect();
        let output = helm3(&[&fixed[..], &more].concat());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}

/// All files in `clusters/`, sorted.
pub fn files() -> Vec<PathBuf> {
    let files = std::fs::read_dir(root().join("tests/it/chart/clusters")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 25, "{files:?}");
    files
}

fn clusters() -> Vec<Cluster> {
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        let comments = text.lines().map_while(|line| line.strip_prefix("# ")).map(str::to_owned).collect();
        Cluster { file, comments }
    };
    files().into_iter().map(read).collect()
}

/// The clusters that render, with their objects.
fn rendered() -> Vec<(Cluster, Vec<Value>)> {
    let accepted: Vec<Cluster> = clusters().into_iter().filter(|cluster| !cluster.is_refused()).collect();
    let texts: Vec<String> = accepted
        .iter()
        .map(|cluster| cluster.render().unwrap_or_else(|error| panic!("{}: {error}", cluster.name())))
        .collect();
    accepted.into_iter().zip(documents(&texts)).collect()
}

/// The objects that `KIND`, `KIND/NAME` or an alert's name selects.
fn selected<'a>(objects: &'a [Value], which: &str) -> Vec<&'a Value> {
    let (kind, named) = which.split_once('/').unwrap_or((which, ""));
    let of_kind = objects.iter().filter(|object| object["kind"] == kind);
    of_kind.filter(|object| named.is_empty() || object["metadata"]["name"] == named).collect()
}

fn alerts<'a>(objects: &'a [Value], named: &str) -> Vec<&'a Value> {
    let rules = objects.iter().filter(|object| object["kind"] == "PrometheusRule");
    rules
        .filter_map(|rule| rule["spec"]["groups"][0]["rules"].as_array())
        .flatten()
        .filter(|alert| alert["alert"] == named)
        .collect()
}

/// Checks one `expect` comment.
fn check(cluster: &str, objects: &[Value], expectation: &str) {
    let (which, rest) = expectation.split_once(' ').unwrap();
    let (found, rest) = if which == "alert" {
        let (named, rest) = rest.split_once(' ').unwrap();
        (alerts(objects, named), rest)
    } else {
        (selected(objects, which), rest)
    };
    if rest == "absent" {
        return assert!(found.is_empty(), "{cluster}: {expectation}");
    }
    let [object] = found[..] else { panic!("{cluster}: {expectation}: {} found", found.len()) };
    let (at, wanted) = rest.split_once(' ').unwrap();
    let (value, wanted) = if at == "env" {
        let (variable, wanted) = wanted.split_once(' ').unwrap();
        let all = pod_of(object).unwrap()["containers"][0]["env"].as_array().unwrap();
        (all.iter().find(|env| env["name"] == variable).map(|env| &env["value"]), wanted)
    } else {
        (object.pointer(at), wanted)
    };
    let wanted: Option<Value> = (wanted != "absent").then(|| serde_json::from_str(wanted).unwrap());
    pretty_assertions::assert_eq!(value, wanted.as_ref(), "{}: {}", cluster, expectation);
}

/// Checks that names, labels and annotations are text, and that no list has two entries of one name.
fn check_values(value: &Value, at: &str) {
    let last = at.rsplit('/').next().unwrap();
    let unique = match last {
        "env" | "volumes" | "containers" | "initContainers" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        _ => None,
    };
    match value {
        Value::Object(members) => {
            let texts = ["labels", "matchLabels", "annotations"].contains(&last);
            for (key, value) in members {
                let named = ["name", "namespace", "secretName", "serviceAccountName"].contains(&key.as_str());
                let is_text = value.is_string() || value.is_object() && !texts;
                assert!(is_text || !texts && !named, "{at}: {key} is not text: {value}");
                check_values(value, &format!("{at}/{key}"));
            }
        }
        Value::Array(items) => {
            if let Some(key) = unique {
                let names: BTreeSet<&str> = items.iter().map(|item| item[key].as_str().unwrap()).collect();
                assert_eq!(names.len(), items.len(), "{at}: a {key} twice");
            }
            for item in items {
                check_values(item, at.strip_suffix('s').unwrap_or(at));
            }
        }
        _ => {}
    }
}

/// Checks that selectors select the pods, and that each mount has its volume.
fn check_pods(cluster: &str, objects: &[Value]) {
    for object in objects {
        let which = format!("{cluster}: {}", name(object));
        if let Some(selector) = object["spec"]["selector"]["matchLabels"].as_object()
            && object["kind"] != "ServiceMonitor"
            && object["kind"] != "PodDisruptionBudget"
        {
            for (label, value) in selector {
                assert_eq!(object["spec"]["template"]["metadata"]["labels"][label], *value, "{which}");
            }
        }
        let Some(pod) = pod_of(object) else { continue };
        let of = |list: &str| pod[list].as_array().cloned().unwrap_or_default();
        let mut volumes: Vec<Value> = of("volumes").iter().map(|volume| volume["name"].clone()).collect();
        let claims = object["spec"]["volumeClaimTemplates"].as_array();
        volumes.extend(claims.into_iter().flatten().map(|claim| claim["metadata"]["name"].clone()));
        for container in of("containers").iter().chain(&of("initContainers")) {
            for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                assert!(volumes.contains(&mount["name"]), "{which}: no volume {}", mount["name"]);
            }
        }
        assert!(object["metadata"]["name"].as_str().unwrap().len() <= 63, "{which}");
    }
}

#[test]
fn clusters__rendered_as_expected() {
    for (cluster, objects) in rendered() {
        let named = cluster.name();
        if cluster.comments.iter().any(|line| line == "empty") {
            assert!(objects.is_empty(), "{named}: {objects:?}");
            continue;
        }
        let expectations = cluster.all("expect");
        assert!(!expectations.is_empty(), "{named} expects nothing");
        for expectation in expectations {
            check(&named, &objects, expectation);
        }
        for object in &objects {
            check_values(object, &name(object));
        }
        check_pods(&named, &objects);
    }
}

#[test]
fn clusters__valid_for_every_kubernetes() {
    let texts: Vec<String> = clusters().iter().filter_map(|cluster| cluster.render().ok()).collect();
    let answer = ask(&json!({"do": "validate", "texts": texts, "versions": KUBERNETES, "foreign": FOREIGN}));
    assert_eq!(answer["complaints"], json!([]), "{answer:#}");
}

#[test]
fn clusters__refused_with_remedy() {
    let refused: Vec<Cluster> = clusters().into_iter().filter(Cluster::is_refused).collect();
    assert!(refused.len() >= 3);
    for cluster in refused {
        let error = cluster.render().expect_err(&cluster.name());
        for text in cluster.all("refuse") {
            assert!(error.contains(text), "{}: {text:?} is not in: {error}", cluster.name());
        }
    }
}

#[test]
fn clusters__helm_4_agrees() {
    let plain: Vec<Cluster> = clusters().into_iter().filter(Cluster::is_plain).collect();
    let files: Vec<&PathBuf> = plain.iter().map(|cluster| &cluster.file).collect();
    let answers = ask(&json!({"do": "render", "chart": chart(), "values_files": files}));
    for (cluster, answer) in plain.iter().zip(answers.as_array().unwrap()) {
        assert_eq!(answer["error"].is_string(), cluster.is_refused(), "{}: {answer:#}", cluster.name());
    }
}
