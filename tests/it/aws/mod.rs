//! The folder `aws`: templates, state machine and schema of the other half, checked by independent tools.

mod policies;
mod state_machine;
mod templates;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use panda_testing::helm::installed;
use panda_testing::root;
use serde_json::{Value, json};

/// The CloudFormation templates, with the folder of Terraform that has the same.
const TEMPLATES: [&str; 4] = ["controller", "user-account", "user-service", "user-service-ecs"];

fn cloudformation(name: &str) -> String {
    format!("aws/cloudformation/{name}.yaml")
}

fn terraform(name: &str) -> String {
    format!("aws/terraform/{name}")
}

fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn shown(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// An answer of `read.py`.
fn read(kind: &str, request: &Value) -> Value {
    let mut child = Command::new(installed("bin/python"))
        .arg(root().join("tests/it/aws/read.py"))
        .arg(kind)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", shown(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The state machine as the templates fill it in.
pub fn definition() -> Value {
    let text = file("aws/state-machine.asl.json");
    serde_json::from_str(&text.replace("${Partition}", "aws").replace("${DnsSuffix}", "amazonaws.com")).unwrap()
}

/// Asserts that input, secret and results are as the schema of the contract requires.
pub fn valid(value: &Value) {
    let schema: Value = serde_json::from_str(&file("aws/pipeline-contract.schema.json")).unwrap();
    assert_eq!(read("valid", &json!({"schema": schema, "value": value})), json!([]), "{value:#}");
}

/// cfn-lint, which moto needs as well.
fn cfn_lint(files: &[PathBuf]) -> Output {
    let program = panda_testing::moto::server::python().with_file_name("cfn-lint");
    Command::new(program).arg("--").args(files).output().unwrap()
}
