//! Runs the tests of `clients/js` with Node's test runner: a server with scripted misbehaviour, and npm's EventSource. `streams_clients` tests it
//! against a real Panda.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

const REMEDY: &str = "Install it with `scripts/install.sh test` (which `make test` does).";

/// A copy of `clients/js` with its test dependencies.
fn package() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js");
    let installed = package.join("node_modules/eventsource/package.json");
    assert!(installed.is_file(), "{} is missing. {REMEDY}", installed.display());
    package
}

/// Runs a script of the package; fails with its whole output unless it succeeds.
async fn npm(script: &str) -> String {
    let mut command = Command::new("npm");
    command.args(["run", "--silent", script]).current_dir(package()).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap_or_else(|error| panic!("npm cannot be started: {error}. {REMEDY}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[tokio::test]
async fn client_js__passes_its_own_tests() {
    let said = npm("test").await;
    let passed = said.lines().find_map(|line| line.strip_prefix("ℹ pass ")).unwrap_or_else(|| panic!("{said}"));
    assert!(passed.parse::<u32>().unwrap() > 0, "no test was run: {said}");
}

#[tokio::test]
async fn client_js__types_check_against_usage() {
    npm("types").await;
}

#[test]
fn client_js__package_is_self_contained() {
    let package = std::fs::read_to_string(package().join("package.json")).unwrap();
    let package: serde_json::Value = serde_json::from_str(&package).unwrap();
    assert!(package["dependencies"].is_null() && package["peerDependencies"].is_null());
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js/src");
    for file in std::fs::read_dir(src).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for import in text.lines().filter(|line| line.starts_with("import ") || line.starts_with("export {")) {
            assert!(import.contains("from \"./"), "{import}");
        }
    }
}
