//! Pods ask for no more than they need: the restricted Pod Security Standard, and checkov.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use super::{all_documents, case, cases, chart, container, installed, name, only, pod_of, render3};

/// The sidecar that builds is a separate security zone: it runs other people's programs.
const ENGINE: &str = "engine";

/// Accepted checkov findings: the check, its cases (all when empty), and the reason.
const WAIVERS: [(&str, &[&str], &str); 11] = [
    (
        "CKV_K8S_11",
        &[],
        "a throttled replica misses its heartbeats and loses its work: requests for processors, no limits",
    ),
    ("CKV_K8S_15", &[], "release tags do not move; image.pullPolicy covers tags that do"),
    (
        "CKV_K8S_43",
        &[],
        "the digest is known only after the image is built: production.yaml has one; third-party tags move with their patches",
    ),
    (
        "CKV_K8S_35",
        &[],
        "AWS's keys are read only from variables, and the database's URL too unless database.asFile is set; all other secrets are files",
    ),
    ("CKV_K8S_8", &["minimal", "production", "switches", "trial"], "the pod of `helm test` ends by itself"),
    ("CKV_K8S_9", &["minimal", "production", "switches", "trial"], "the pod of `helm test` ends by itself"),
    ("CKV_K8S_16", &["switches", "trial"], "the rootless engine makes a user namespace and mounts in it"),
    ("CKV_K8S_20", &["switches", "trial"], "newuidmap of the rootless engine is setuid"),
    ("CKV_K8S_22", &["switches", "trial"], "the rootless engine writes below /etc and /run in its namespace"),
    (
        "CKV_K8S_28",
        &["switches", "trial"],
        "the rootless engine drops capabilities itself, for each container that it runs",
    ),
    (
        "CKV_K8S_37",
        &["switches", "trial"],
        "the rootless engine drops capabilities itself, for each container that it runs",
    ),
];

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"].into_iter().filter_map(|list| pod[list].as_array()).flatten()
}

#[test]
fn hardening__pods_meet_restricted_standard() {
    const VOLUMES: [&str; 6] = ["configMap", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
    for (case, objects) in all_documents() {
        for object in &objects {
            let Some(pod) = pod_of(object) else { continue };
            let which = format!("{case}: {}", name(object));
            assert_eq!(pod["automountServiceAccountToken"], false, "{which}");
            assert_eq!(pod["enableServiceLinks"], false, "{which}");
            for host in ["hostNetwork", "hostPID", "hostIPC"] {
                assert_ne!(pod[host], true, "{which}: {host}");
            }
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                let kinds = volume.as_object().unwrap().keys().filter(|key| *key != "name");
                assert!(kinds.clone().all(|kind| VOLUMES.contains(&kind.as_str())), "{which}: {volume}");
            }
            let of_pod = &pod["securityContext"];
            assert_eq!(of_pod["runAsNonRoot"], true, "{which}");
            assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault", "{which}");
            assert_ne!(of_pod["runAsUser"], 0, "{which}");
            for container in containers(pod).filter(|container| container["name"] != ENGINE) {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{which}: {container}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{which}: {container}");
                assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{which}: {container}");
                assert_ne!(context["privileged"], true, "{which}: {container}");
                assert_ne!(context["runAsUser"], 0, "{which}: {container}");
                for resource in
                    [&container["resources"]["requests"]["cpu"], &container["resources"]["limits"]["memory"]]
                {
                    assert!(resource.is_string(), "{which}: {container}");
                }
            }
        }
    }
}

#[test]
fn hardening__engine_reachable_from_its_pod_only() {
    let objects = super::documents(&[render3(&chart(), &case("trial"), &[])]).remove(0);
    let pod = pod_of(only(&objects, "Deployment")).unwrap();
    let (engine, panda) = (container(pod, ENGINE), container(pod, "panda"));
    assert_eq!(engine["restartPolicy"], "Always", "it starts before Panda and ends after it");
    assert!(engine["ports"].is_null());
    let args: Vec<&str> = engine["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    let hosts: Vec<&str> = args.into_iter().filter(|arg| arg.starts_with("--host")).collect();
    assert_eq!(hosts, ["--host=unix:///engine/docker.sock"]);
    let host = panda["env"].as_array().unwrap().iter().find(|env| env["name"] == "PANDA_DOCKER_HOST").unwrap();
    assert_eq!(host["value"], "unix:///engine/docker.sock");
    // The socket belongs to the engine's group, and Panda is a member of it.
    assert_eq!(pod["securityContext"]["fsGroup"], engine["securityContext"]["runAsGroup"]);
    // No credentials are mounted in the container that runs builds.
    let mounts: Vec<&str> =
        engine["volumeMounts"].as_array().unwrap().iter().map(|mount| mount["name"].as_str().unwrap()).collect();
    assert_eq!(mounts, ["engine", "engine-data"]);
    assert!(!engine.to_string().contains("secretKeyRef"));
}

#[test]
fn hardening__secret_values_only_in_secrets() {
    const CANARY: &str = "not-a-secret";
    let mut found = 0;
    for (case, objects) in all_documents() {
        for object in objects {
            let of_values = object.to_string().contains(CANARY);
            assert!(!of_values || object["kind"] == "Secret", "{case}: {}", name(&object));
            found += usize::from(of_values);
        }
    }
    assert!(found >= 3, "{found}");
}

#[test]
fn hardening__checkov_findings_waived_in_writing() {
    // checkov skips folders whose names begin with a dot.
    let folder = tempfile::Builder::new().prefix("chart").tempdir().unwrap();
    for name in cases() {
        std::fs::write(folder.path().join(format!("{name}.yaml")), render3(&chart(), &case(&name), &[])).unwrap();
    }
    let output = Command::new(installed("bin/python"))
        .args([
            "-m",
            "checkov.main",
            "--framework",
            "kubernetes",
            "--skip-download",
            "--compact",
            "--quiet",
            "-o",
            "json",
            "-d",
        ])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(answer["summary"]["parsing_errors"], 0, "{answer:#}");
    assert!(answer["summary"]["passed"].as_u64().unwrap() > 500, "{}", answer["summary"]);
    let mut used = BTreeSet::new();
    let mut found = Vec::new();
    for failed in answer["results"]["failed_checks"].as_array().unwrap() {
        let (check, path) = (failed["check_id"].as_str().unwrap(), failed["file_path"].as_str().unwrap());
        let case = path.trim_start_matches('/').trim_end_matches(".yaml");
        match WAIVERS.iter().find(|(id, cases, _)| *id == check && (cases.is_empty() || cases.contains(&case))) {
            Some((id, ..)) => drop(used.insert(*id)),
            None => found.push(format!("{check} {} {case} {}", failed["check_name"], failed["resource"])),
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    let stale: Vec<&str> = WAIVERS.iter().map(|(id, ..)| *id).filter(|id| !used.contains(id)).collect();
    assert!(stale.is_empty(), "unused waivers, remove them: {stale:?}");
}
