//! Every answer of the sandbox fits botocore's model of its service: shapes, required members, enums, error codes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use panda_sandbox::RolloutStyle;
use panda_testing::moto::server::python;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::harness::{App, Harness, brisk};
use crate::support::WAIT_LIMIT;

const REPOSITORY: &str = "acme-hello";
/// A service whose traffic ECS shifts.
const NATIVE: &str = "acme-native";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models__every_answer_fits_botocore() {
    // The shift lasts until the script has made its calls about it.
    let mut harness =
        Harness::with(panda_sandbox::Timing { traffic_shift: Duration::from_secs(5), ..brisk() }, None).await;
    harness.link(REPOSITORY).await;
    let digest = harness.push(REPOSITORY, App::Hello("v1")).await;
    let execution = harness.execution_of(REPOSITORY, &digest).await;
    let approval = harness.approval(&execution).await;
    harness.sandbox.faults().update(|faults| _ = faults.rollouts.insert(NATIVE.to_owned(), RolloutStyle::BlueGreen));
    harness.link(NATIVE).await;
    let native = harness.push(NATIVE, App::Hello("v1")).await;
    let native = harness.execution_of(NATIVE, &native).await;
    let native = harness.approval(&native).await;
    let role = format!("arn:aws:iam::{}:role/models", harness.sandbox.user_account_id());
    harness.sandbox.put_role_for(&role, "right");
    let settings = json!({
        "endpoint": harness.sandbox.endpoint().as_str(), "control": harness.sandbox.control_url().as_str(), "region": harness.sandbox.region(),
        "user": harness.sandbox.user_credentials().access_key_id, "controller": harness.sandbox.controller_credentials().access_key_id,
        "stranger": "AKIAUNKNOWN000000000", "role": role, "repository": REPOSITORY, "digest": digest, "execution": execution,
        "deployment": approval["deploymentId"], "serviceDeployment": native["serviceDeploymentArn"], "service": NATIVE,
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sandbox/models.py");
    let mut running = Command::new(python())
        .arg("-B")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    running.stdin.take().unwrap().write_all(settings.to_string().as_bytes()).await.unwrap();
    let output = timeout(WAIT_LIMIT, running.wait_with_output()).await.expect("the script ends").unwrap();
    harness.end().await;
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{report}\n{errors}");
}
