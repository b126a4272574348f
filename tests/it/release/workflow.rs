//! The workflows of GitHub, checked by its schema, by zizmor for security, and against the scripts that they call.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use panda_testing::{root, text};
use regex::Regex;
use serde_json::{Value, json};

use super::{installed, shown, succeeds, yaml};

const WORKFLOW: &str = ".github/workflows/release.yml";

#[test]
fn workflows__valid_and_without_findings() {
    let folder = root().join(".github/workflows");
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    succeeds(
        Command::new(installed("check-jsonschema")).args(["--builtin-schema", "vendor.github-workflows"]).args(&files),
    );
    succeeds(Command::new(installed("zizmor")).args(["--offline", "--no-config"]).arg(folder));
    let action = root().join("action/action.yml");
    succeeds(
        Command::new(installed("check-jsonschema")).args(["--builtin-schema", "vendor.github-actions"]).arg(&action),
    );
    succeeds(Command::new(installed("zizmor")).args(["--offline", "--no-config"]).arg(&action));
    // The tools find what they are there for.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yml");
    std::fs::write(&file, BAD).unwrap();
    let zizmor = Command::new(installed("zizmor")).args(["--offline", "--no-config"]).arg(&file).output().unwrap();
    assert!(!zizmor.status.success() && shown(&zizmor).contains("template-injection"), "{}", shown(&zizmor));
    let schema = ["--builtin-schema", "vendor.github-workflows"];
    let schema = Command::new(installed("check-jsonschema")).args(schema).arg(&file).output().unwrap();
    assert!(!schema.status.success() && shown(&schema).contains("step"), "{}", shown(&schema));
}

const BAD: &str = "
on: issues
permissions: write-all
jobs:
  one:
    runs-on: ubuntu-24.04
    step: misspelt
    steps:
      - run: echo ${{ github.event.issue.title }}
";

#[test]
fn release_workflow__only_publish_may_write_and_only_for_tags() {
    let workflow = yaml(WORKFLOW);
    assert_eq!(workflow["permissions"], json!({}));
    // YAML 1.1 reads the key `on` as true.
    assert_eq!(workflow["true"]["push"], json!({"tags": ["v*"]}));
    let jobs = workflow["jobs"].as_object().unwrap();
    for (name, job) in jobs {
        let granted = job["permissions"].as_object().unwrap_or_else(|| panic!("{name} names no permissions"));
        let writes: Vec<&String> =
            granted.iter().filter(|(_, value)| **value == "write").map(|(scope, _)| scope).collect();
        if name == "publish" {
            assert_eq!(writes, ["attestations", "contents", "id-token", "packages"]);
            assert_eq!(job["if"], "github.event_name == 'push' && github.ref_type == 'tag'");
        } else {
            assert!(writes.is_empty(), "{name}: {writes:?}");
        }
        let cached = job["steps"]
            .as_array()
            .unwrap()
            .iter()
            .any(|step| step["uses"].as_str().is_some_and(|uses| uses.contains("/cache@")));
        assert!(!cached, "{name}: another workflow could have filled the cache");
        assert!(job["timeout-minutes"].is_number(), "{name} has no time limit");
    }
    assert_eq!(jobs["publish"]["needs"], "rehearse");
    assert_eq!(jobs["verify"]["needs"], "publish");
}

#[test]
fn release_workflow__builds_both_architectures_on_such_machines() {
    let jobs = &yaml(WORKFLOW)["jobs"];
    let of = |job: &str, field: &str| -> Vec<(String, String)> {
        let include = jobs[job]["strategy"]["matrix"]["include"].as_array().unwrap();
        include.iter().map(|one| (string(&one["runner"]), string(&one[field]))).collect()
    };
    let both = |x86: &str, arm: &str| [("ubuntu-24.04".into(), x86.into()), ("ubuntu-24.04-arm".into(), arm.into())];
    assert_eq!(of("binary", "target"), both("x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"));
    assert_eq!(of("image", "architecture"), both("amd64", "arm64"));
}

fn string(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The names before `)` in the last `case` of a script.
fn commands(script: &str) -> Vec<String> {
    let cases = script.rsplit_once("\ncase ").unwrap().1;
    let names =
        cases.lines().filter_map(|line| line.trim_start().split_once(')')).flat_map(|(names, _)| names.split('|'));
    names.map(|name| name.trim().to_owned()).collect()
}

#[test]
fn release_workflow__called_scripts_and_commands_exist() {
    let (workflow, script) = (text(WORKFLOW), text("scripts/release.sh"));
    let known = commands(&script);
    let calls = Regex::new(r"(scripts/[a-z-]+\.sh)(?: ([a-z-]+))?").unwrap();
    let mut seen = Vec::new();
    for call in calls.captures_iter(&workflow).filter(|call| !call[0].starts_with("scripts/image-root")) {
        let path = root().join(&call[1]);
        assert_eq!(
            path.metadata().unwrap_or_else(|error| panic!("{}: {error}", &call[1])).permissions().mode() & 0o111,
            0o111
        );
        if let (true, Some(command)) = (&call[1] == "scripts/release.sh", call.get(2)) {
            assert!(
                known.iter().any(|name| name == command.as_str()),
                "release.sh has no {}: {known:?}",
                command.as_str()
            );
            seen.push(command.as_str().to_owned());
        }
    }
    for needed in [
        "check",
        "build",
        "static",
        "sbom",
        "archive",
        "chart",
        "packages",
        "sums",
        "push-image",
        "push-chart",
        "publish-packages",
        "tag-go",
        "notes",
    ] {
        assert!(seen.iter().any(|command| command == needed), "{needed} is not called");
    }
    // The comment at the top of the script lists every command.
    let comment = script.split("set -euo").next().unwrap();
    for command in known.iter().filter(|name| *name != "*") {
        assert!(comment.contains(&format!("\n#   {command} ")), "{command} is not documented");
    }
}
