//! From each earlier version of the chart to this one: what was installed goes on, and Kubernetes takes the change.
//!
//! `previous/VERSION` holds the chart as it was packaged, and the values files that it was tried with (`make chart-keep`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::{chart, documents, name, render3, root, text};

/// Objects that an upgrade may remove, as `VERSION kind/name`, each with its reason. None so far.
const REMOVED: [&str; 0] = [];

/// Fields that Kubernetes refuses to change, by kind, as JSON pointers.
const FIXED: [(&str, &[&str]); 3] = [
    ("Deployment", &["/spec/selector"]),
    (
        "StatefulSet",
        &["/spec/selector", "/spec/serviceName", "/spec/volumeClaimTemplates", "/spec/podManagementPolicy"],
    ),
    ("Service", &["/spec/clusterIP"]),
];

/// The earlier versions: their numbers, packages, values files.
fn previous() -> Vec<(String, PathBuf, Vec<PathBuf>)> {
    let folders = std::fs::read_dir(root().join("tests/it/chart/previous")).unwrap();
    let mut all: Vec<_> = folders
        .map(|folder| {
            let folder = folder.unwrap().path();
            let version = folder.file_name().unwrap().to_string_lossy().into_owned();
            let mut files: Vec<PathBuf> =
                std::fs::read_dir(folder.join("ci")).unwrap().map(|file| file.unwrap().path()).collect();
            files.sort();
            let package = folder.join(format!("panda-{version}.tgz"));
            assert!(package.is_file() && files.len() > 3, "{}", folder.display());
            (version, package, files)
        })
        .collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

/// What stays between installs: hooks are made anew by each.
fn objects(text: String) -> BTreeMap<String, Value> {
    let all = documents(&[text]).remove(0).into_iter();
    all.filter(|object| object["metadata"]["annotations"]["helm.sh/hook"].is_null())
        .map(|object| (name(&object), object))
        .collect()
}

#[test]
fn what_was_installed_stays_and_can_be_changed_to_what_there_is_now() {
    for (version, package, files) in previous() {
        for file in files {
            let which = format!("{version}: {}", file.file_name().unwrap().to_string_lossy());
            let old = objects(render3(&package, &file, &[]));
            // Values that were fine then are fine now: render3 fails otherwise.
            let new = objects(render3(&chart(), &file, &["--is-upgrade"]));
            assert!(old.len() > 2, "{which}: {old:?}");
            for (name, old) in &old {
                let Some(new) = new.get(name) else {
                    assert!(REMOVED.contains(&&*format!("{version} {name}")), "{which}: {name} would be removed");
                    continue;
                };
                let kind = old["kind"].as_str().unwrap();
                for field in FIXED.iter().filter(|(of, _)| *of == kind).flat_map(|(_, fields)| *fields) {
                    pretty_assertions::assert_eq!(
                        old.pointer(field),
                        new.pointer(field),
                        "{} {} {}",
                        which,
                        name,
                        field
                    );
                }
                assert_eq!(old["apiVersion"], new["apiVersion"], "{which}: {name}");
                if kind == "Deployment" {
                    assert_eq!(new["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0, "{which}: {name}");
                }
            }
        }
    }
}

#[test]
fn versions_are_those_of_the_program_and_newer_than_what_was_packaged() {
    let field = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_matches([' ', '=', ':', '"']).to_owned()
    };
    let (about, cargo) = (text("helm/panda/Chart.yaml"), text("Cargo.toml"));
    assert_eq!(field(&about, "appVersion:"), field(&cargo, "version"));
    let parts = |version: &str| version.split('.').map(|part| part.parse::<u32>().unwrap()).collect::<Vec<_>>();
    let ours = parts(&field(&about, "version:"));
    for (version, ..) in previous() {
        assert!(ours >= parts(&version), "the chart's version is {ours:?}; {version} was packaged already");
    }
}
