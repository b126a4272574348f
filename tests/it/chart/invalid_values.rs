//! Both engines refuse invalid values before they render anything, with the value's name and the remedy.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{ask, chart, helm3, text};

/// The change to the minimal values, and the texts that both engines must print.
const WRONG: [(&str, &str, &[&str]); 37] = [
    ("an_unknown_value", "replicas: 3", &["replicas"]),
    ("an_unknown_value_deep_inside", "database: {existingSecrets: a}", &["database", "existingSecrets"]),
    ("an_unknown_option", "config: {maxBuild: 2}", &["config", "maxBuild"]),
    ("an_option_with_its_own_chart_value", "config: {listen: '0.0.0.0:1'}", &["config", "listen"]),
    ("a_word_for_a_number", "replicaCount: two", &["replicaCount"]),
    ("a_number_below_the_least", "config: {pollIntervalMs: 0}", &["pollIntervalMs", "1"]),
    ("a_word_for_a_list", "config: {trustedProxies: 10.0.0.0/8}", &["trustedProxies", "array"]),
    ("an_unknown_mode", "builder: {mode: docker}", &["mode", "rootless"]),
    ("an_invalid_engine_address", "builder: {remote: {host: engine}}", &["host", "tcp://"]),
    ("an_invalid_digest", "image: {digest: 'sha256:abc'}", &["digest"]),
    ("a_short_admin_token", "auth: {adminToken: {value: short}}", &["adminToken", "32"]),
    ("an_invalid_key", "keys: {value: no-key}", &["keys", "value"]),
    ("a_port_below_1024", "containerPort: 80", &["containerPort"]),
    ("a_database_of_another_kind", "database: {url: 'mysql://a/b'}", &["database", "postgres"]),
    ("no_database", "database: {existingSecret: ''}", &["database:", "database.existingSecret"]),
    ("no_key", "keys: {existingSecret: ''}", &["keys:", "panda keys generate"]),
    ("no_sign_in_method", "auth: {adminToken: {existingSecret: ''}}", &["auth:", "auth.oidc.issuers"]),
    ("no_engine", "builder: {remote: {host: ''}}", &["builder:", "builder.remote.host"]),
    ("two_databases", "postgresql: {enabled: true, password: a}", &["postgresql.enabled:"]),
    (
        "a_job_before_its_database",
        "{database: {existingSecret: ''}, postgresql: {enabled: true, password: a}, migrations: {mode: hook}}",
        &["migrations.mode=hook", "auto"],
    ),
    ("an_ingress_without_a_host", "ingress: {enabled: true}", &["ingress.hosts"]),
    (
        "a_grace_period_shorter_than_shutdown",
        "rollout: {terminationGracePeriodSeconds: 12}",
        &["rollout.terminationGracePeriodSeconds", "5 seconds"],
    ),
    ("no_time_for_builds_to_drain", "rollout: {buildDrainSeconds: 60}", &["buildDrainSeconds", "8 seconds more"]),
    ("a_name_that_no_service_has", "fullnameOverride: 1panda", &["fullnameOverride", "letter"]),
    ("a_number_for_a_name", "fullnameOverride: 123", &["fullnameOverride", "string"]),
    ("a_file_and_a_secret", "database: {file: /secrets/url}", &["database.file:", "database.existingSecret"]),
    ("a_relative_file", "keys: {file: secrets/keys}", &["keys", "file"]),
    ("a_base_path_without_a_slash", "basePath: panda", &["basePath"]),
    ("a_base_path_with_a_slash_at_its_end", "basePath: /panda/", &["basePath"]),
    ("a_route_without_a_gateway", "httpRoute: {enabled: true}", &["httpRoute.parentRefs"]),
    (
        "keda_without_prometheus",
        "autoscaling: {enabled: true, provider: keda, buildQueue: {enabled: true}}",
        &["autoscaling.buildQueue.prometheus"],
    ),
    ("a_minimum_above_the_maximum", "autoscaling: {enabled: true, minReplicas: 9}", &["autoscaling.minReplicas"]),
    ("metrics_at_the_api_s_port", "metrics: {port: 8080}", &["metrics.port"]),
    (
        "an_unknown_alert",
        "metrics: {rules: {enabled: true, alerts: {PandaGone: {for: 1m}}}}",
        &["metrics.rules.alerts", "PandaGone", "PandaAbsent"],
    ),
    ("a_variable_that_probes_need", "extraEnv: [{name: PANDA_LISTEN, value: a}]", &["extraEnv", "containerPort"]),
    ("a_container_s_name_twice", "extraContainers: [{name: panda}]", &["extraContainers", "panda"]),
    ("a_label_of_the_selectors", "commonLabels: {app.kubernetes.io/instance: a}", &["commonLabels", "selectors"]),
];

/// Writes the minimal values with one change to a file; Helm merges a list of values files, the last of which wins.
fn written(folder: &Path) -> Vec<PathBuf> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    WRONG.iter().map(|(name, change, _)| write(&format!("{name}.yaml"), change)).collect()
}

fn names_all(error: &str, which: &str, expected: &[&str]) {
    for word in expected {
        assert!(error.contains(word), "{which}: {word:?} is not in: {error}");
    }
    assert!(!error.contains("nil pointer") && !error.contains("can't evaluate"), "{which}: {error}");
}

#[test]
fn helm_3__invalid_values_named() {
    let folder = tempfile::tempdir().unwrap();
    for (file, (which, _, expected)) in written(folder.path()).iter().zip(WRONG) {
        let (chart, minimal) = (chart(), super::case("minimal"));
        let args = [
            "template",
            "panda",
            &chart.to_string_lossy(),
            "--kube-version",
            "1.30.0",
            "--values",
            &minimal.to_string_lossy(),
        ];
        let output = helm3(&[&args[..], &["--values", &file.to_string_lossy()]].concat());
        assert!(!output.status.success(), "{which} was accepted: {}", String::from_utf8_lossy(&output.stdout));
        names_all(&String::from_utf8_lossy(&output.stderr), which, expected);
    }
}

#[test]
fn helm_4__invalid_values_named() {
    let folder = tempfile::tempdir().unwrap();
    let answers = ask(&json!({
        "do": "render", "chart": chart(), "below": super::case("minimal"), "values_files": written(folder.path()),
    }));
    for (answer, (which, _, expected)) in answers.as_array().unwrap().iter().zip(WRONG) {
        names_all(answer["error"].as_str().unwrap_or_else(|| panic!("{which} was taken")), which, expected);
    }
}

#[test]
fn helm__old_kubernetes_refused() {
    let (chart, minimal) = (chart(), super::case("minimal"));
    let args = [
        "template",
        "panda",
        &chart.to_string_lossy(),
        "--values",
        &minimal.to_string_lossy(),
        "--kube-version",
        "1.29.9",
    ];
    let output = helm3(&args);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("1.30.0"), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text("helm/panda/README.md").contains("1.30"));
}
