//! Upgrades from each earlier version of the chart to this one: installed objects stay, and Kubernetes accepts the changes.
//!
//! `previous.txt` names the commits with the earlier versions; Git's history has the charts and the values files that they were tested with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

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

/// An earlier version of the chart, extracted to a temporary folder.
struct Previous {
    version: String,
    folder: TempDir,
}

impl Previous {
    fn chart(&self) -> PathBuf {
        self.folder.path().join("helm/panda")
    }

    /// The values files that the version was tested with, sorted.
    fn values(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.chart().join("ci")).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(files.len() > 3, "{files:?}");
        files
    }
}

fn previous() -> Vec<Previous> {
    let listed = text("tests/it/chart/previous.txt");
    let all: Vec<Previous> = listed
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (version, commit) = line.split_once(' ').unwrap();
            let git = Command::new("git").current_dir(root()).args(["archive", commit, "helm/panda"]).output().unwrap();
            let error = String::from_utf8_lossy(&git.stderr);
            assert!(git.status.success(), "{error}: the whole history is needed, try `git fetch --unshallow`");
            let folder = tempfile::tempdir().unwrap();
            tar::Archive::new(&*git.stdout).unpack(folder.path()).unwrap();
            Previous { version: version.to_owned(), folder }
        })
        .collect();
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
    for previous in previous() {
        let version = &previous.version;
        for file in previous.values() {
            let which = format!("{version}: {}", file.file_name().unwrap().to_string_lossy());
            let old = objects(render3(&previous.chart(), &file, &[]));
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
    for version in previous().into_iter().map(|previous| previous.version) {
        assert!(ours >= parts(&version), "the chart's version is {ours:?}; {version} was packaged already");
    }
}
