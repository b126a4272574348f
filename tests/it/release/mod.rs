//! What users install, and how it is made: archives, chart, image, systemd's unit, the compose file, the task definition, the workflow.

mod compose;
mod ecs;
mod files;
mod registry;
mod systemd;
mod versions;
mod workflow;

use std::path::PathBuf;
use std::process::{Command, Output};

use panda_testing::installed::folder;
use panda_testing::{helm, root, text};
use serde_json::Value;

/// A program of the environment for `scripts/release-requirements.txt`.
fn installed(program: &str) -> PathBuf {
    let path = folder("PANDA_TEST_RELEASE", "release").join("bin").join(program);
    assert!(path.exists(), "{} is missing: install it with `scripts/install.sh test`", path.display());
    path
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a command, which must succeed, and returns its output.
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", shown(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn release(args: &[&str]) -> Command {
    let mut command = Command::new(root().join("scripts/release.sh"));
    command.args(args);
    command
}

/// The version in Cargo.toml.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// A YAML file of the checkout.
fn yaml(path: &str) -> Value {
    helm::documents(&[text(path)]).remove(0).remove(0)
}

/// The names of `panda serve`'s variables, from docs/configuration.md, which a test compares with the program.
fn options() -> Vec<String> {
    let page = text("docs/configuration.md");
    page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

/// Asserts that these are variables of the server, of the AWS SDK, or of the log.
fn known<'a>(file: &str, variables: impl IntoIterator<Item = &'a str>) {
    let options = options();
    assert!(options.len() > 30, "{options:?}");
    for variable in variables {
        let known =
            variable == "PANDA_KEYS" || variable.starts_with("AWS_") || options.iter().any(|name| name == variable);
        assert!(known, "{file}: {variable} is no option of the server");
    }
}
