//! Wrong values are refused before anything is made, by both engines, with the value's name and what to do.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{ask, chart, helm3, text};

/// What is changed in the least that works, and what both must name.
const WRONG: [(&str, &str, &[&str]); 22] = [
    ("an_unknown_value", "replicas: 3", &["replicas"]),
    ("an_unknown_value_deep_inside", "database: {existingSecrets: a}", &["database", "existingSecrets"]),
    ("an_option_that_is_none", "config: {maxBuild: 2}", &["config", "maxBuild"]),
    ("an_option_with_a_value_of_its_own", "config: {listen: '0.0.0.0:1'}", &["config", "listen"]),
    ("a_word_for_a_number", "replicaCount: two", &["replicaCount"]),
    ("a_number_below_the_least", "config: {pollIntervalMs: 0}", &["pollIntervalMs", "1"]),
    ("a_word_for_a_list", "config: {trustedProxies: 10.0.0.0/8}", &["trustedProxies", "array"]),
    ("a_mode_that_is_none", "builder: {mode: docker}", &["mode", "rootless"]),
    ("an_engine_that_is_no_address", "builder: {remote: {host: engine}}", &["host", "tcp://"]),
    ("a_digest_that_is_none", "image: {digest: 'sha256:abc'}", &["digest"]),
    ("a_short_admin_token", "auth: {adminToken: {value: short}}", &["adminToken", "32"]),
    ("a_key_that_is_none", "keys: {value: no-key}", &["keys", "value"]),
    ("a_port_below_1024", "containerPort: 80", &["containerPort"]),
    ("a_database_of_another_kind", "database: {url: 'mysql://a/b'}", &["database", "postgres"]),
    ("no_database", "database: {existingSecret: ''}", &["database:", "database.existingSecret"]),
    ("no_key", "keys: {existingSecret: ''}", &["keys:", "panda keys generate"]),
    ("nobody_who_could_sign_in", "auth: {adminToken: {existingSecret: ''}}", &["auth:", "auth.oidc.issuers"]),
    ("no_engine", "builder: {remote: {host: ''}}", &["builder:", "builder.remote.host"]),
    ("two_databases", "postgresql: {enabled: true, password: a}", &["postgresql.enabled:"]),
    (
        "a_job_before_its_database",
        "{database: {existingSecret: ''}, postgresql: {enabled: true, password: a}, migrations: {mode: hook}}",
        &["migrations.mode=hook", "auto"],
    ),
    ("an_ingress_without_a_host", "ingress: {enabled: true}", &["ingress.hosts"]),
    (
        "an_end_before_it_can_end",
        "rollout: {terminationGracePeriodSeconds: 12}",
        &["rollout.terminationGracePeriodSeconds", "5 seconds"],
    ),
];

/// The least that works with one thing changed, as a file; a later document of values wins in Helm, so they are merged by it.
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
fn helm_3_names_what_is_wrong() {
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
        assert!(!output.status.success(), "{which} was taken: {}", String::from_utf8_lossy(&output.stdout));
        names_all(&String::from_utf8_lossy(&output.stderr), which, expected);
    }
}

#[test]
fn helm_4_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let answers = ask(&json!({
        "do": "render", "chart": chart(), "below": super::case("minimal"), "values_files": written(folder.path()),
    }));
    for (answer, (which, _, expected)) in answers.as_array().unwrap().iter().zip(WRONG) {
        names_all(answer["error"].as_str().unwrap_or_else(|| panic!("{which} was taken")), which, expected);
    }
}

#[test]
fn a_kubernetes_that_is_too_old_is_refused() {
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
