//! Compiles `clients/go`, runs its tests, and drives deployments of a real Panda with its example.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use panda_testing::installed::{REMEDY, folder};
use panda_testing::{root, text};
use pretty_assertions::assert_eq;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::support::environment::{Environment, OWNER, hello};
use crate::support::panda::Panda;
use crate::support::wait_for;

/// Folder of the package's sources.
fn package() -> PathBuf {
    root().join("clients/go")
}

/// The program `go` of the environment for `scripts/go-requirements.txt`.
fn program() -> PathBuf {
    let library = folder("PANDA_TEST_GO", "go").join("lib");
    let versions = std::fs::read_dir(&library).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut programs = versions.map(|version| version.join("site-packages/go/bin/go"));
    programs.find(|program| program.is_file()).unwrap_or_else(|| panic!("{} has no Go. {REMEDY}", library.display()))
}

/// Runs Go on the package without a network; fails with its whole output unless it succeeds.
async fn go(arguments: &[&str]) {
    let mut command = Command::new(program());
    // A cache beside the environment, because most of the time goes into the standard library.
    let cache = folder("PANDA_TEST_GO", "go").with_file_name("go-build");
    command.args(arguments).current_dir(package()).env("GOCACHE", cache).env("GOPROXY", "off");
    command.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=readonly").stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", shown(&output));
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// `make clients` writes the hash; CI generates again and compares the files.
#[test]
fn client_go__generated_from_the_present_document() {
    let hash = hex::encode(Sha256::digest(text("clients/openapi.json")));
    assert_eq!(text("clients/go/openapi.sha256").trim(), hash, "`make clients` generates it");
}

#[tokio::test]
async fn client_go__passes_its_own_tests() {
    go(&["test", "./..."]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_go__drives_a_deployment_to_green() {
    let built = tempfile::tempdir().unwrap();
    let example = built.path().join("deploy");
    go(&["build", "-o", example.to_str().unwrap(), "./examples/deploy"]).await;
    let env = Environment::with_files(hello("2.0.0")).await;
    let deploy = async |server: &str| {
        let mut command = Command::new(&example);
        command.arg(format!("{OWNER}/{}", env.repo)).env("PANDA_SERVER", server).env_remove("PANDA_TOKEN");
        command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap()
    };
    let panda = Panda::builder().environment(&env).server().await;
    wait_for("Panda is ready", async || panda.is_ready().await).await;
    panda.connect(&env).await;
    let output = deploy(&panda.base).await;
    assert!(output.status.success(), "{}", shown(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().filter(|line| *line == "Deployment ready for manual traffic switch").count(), 1, "{said}");
    let last: Vec<&str> = said.lines().last().unwrap().split(' ').collect();
    let [id, "COMPLETED", "green", digest] = last[..] else { panic!("{said}") };
    let (_, result) = panda.get(&format!("/deploy/{id}/result")).await;
    assert_eq!((&result["data"]["status"], &result["data"]["finalService"]), (&json!("COMPLETED"), &json!("green")));
    assert_eq!(result["data"]["imageDigest"], digest);
    panda.stop().await;

    let locked = Panda::builder().environment(&env).auth().server().await;
    wait_for("Panda is ready", async || locked.is_ready().await).await;
    let output = deploy(&locked.base).await;
    assert!(!output.status.success() && shown(&output).starts_with("NOT_SIGNED_IN: "), "{}", shown(&output));
    locked.stop().await;
}
