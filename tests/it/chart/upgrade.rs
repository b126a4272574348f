//! Upgrades from each earlier version of the chart to this one: installed objects stay, and Kubernetes accepts the changes.
//!
//! `previous/VERSION` holds the packaged chart and the values files that it was tested with (`make chart-keep`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::{chart, documents, name, render3, root, text};

/// Objects that an upgrade may remove, as `VERSION kind/name`, each with its reason. None so far.
const REMOVED: [&str; 0] = [];

/// Immutable fields of Kubernetes by kind, as JSON pointers.
const FIXED: [(&str, &[&str]); 3] = [
    ("Deployment", &["/spec/selector"]),
    (
        "StatefulSet",
        &["/spec/selector", "/spec/serviceName", "/spec/volumeClaimTemplates", "/spec/podManagementPolicy"],
    ),
    ("Service", &["/spec/clusterIP"]),
];

/// The earlier versions: version number, package, values files.
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

/// Objects that persist between installs: hooks are recreated by each.
fn objects(text: String) -> BTreeMap<String, Value> {
    let all = documents(&[text]).remove(0).into_iter();
    all.filter(|object| object["metadata"]["annotations"]["helm.sh/hook"].is_null())
        .map(|object| (name(&object), object))
        .collect()
}

#[test]
fn chart_upgrade__previous_release_upgradable() {
    for (version, package, files) in previous() {
        for file in files {
            let which = format!("{version}: {}", file.file_name().unwrap().to_string_lossy());
            let old = objects(render3(&package, &file, &[]));
            // Values that were valid then are valid now: render3 fails otherwise.
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
fn chart_upgrade__versions_match_program_and_increase() {
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
