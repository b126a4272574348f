//! Outputs of executions that no honest pipeline writes: a clear failure, nothing requested, nothing stored.

use panda::db::deployments::DeploymentView;
use panda::domain::ErrorCode;
use panda_sandbox::Faults;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::reconcile::failures::said;
use crate::reconcile::histories::unapproved;
use crate::reconcile::{Replica, deploy, status};
use crate::support::environment::Environment;

/// The largest output of a state: <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>.
const LARGEST_OUTPUT: usize = 256 << 10;

fn approval(more: &Value) -> Value {
    let mut approval = json!({"status": "WAITING_APPROVAL", "stage": "CHECK_DEPLOYMENT"});
    approval.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    approval
}

/// Deploys with a registration and a check that return these outputs; returns the deployment once it has `status`.
async fn ends(env: &Environment, registered: &Value, checked: &Value, as_status: &str) -> DeploymentView {
    let histories = [("*".to_owned(), unapproved(registered, Some(checked)))].into();
    env.sandbox.faults().set(Faults { histories, ..Faults::default() });
    let replica = Replica::start(env, &[]);
    let id = deploy(env, "main").await;
    let view = status(env, &id, &[as_status]).await;
    replica.stop().await;
    view
}

async fn refused(env: &Environment, registered: &Value, checked: &Value) -> String {
    let failed = ends(env, registered, checked, "FAILED").await;
    let message = said(env, &failed.id).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::ExecutionOutputInvalid.as_str()), "{message}");
    assert!(message.len() < 4_096, "{} bytes", message.len());
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert!(effects.continued.is_empty() && effects.shifted.is_empty(), "{effects:?}");
    message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_output__largest_output_is_read() {
    let env = Environment::start().await;
    let registered = json!({"codeDeployDeploymentId": "{codeDeployDeploymentId}"});
    let filler = "x".repeat(LARGEST_OUTPUT - 1_000);
    let ready = ends(&env, &registered, &approval(&json!({"a": filler})), "DEPLOYMENT_READY").await;
    assert!(serde_json::to_string(&ready.facts).unwrap().len() < 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_output__deep_nesting_fails_clearly() {
    let env = Environment::start().await;
    // A text, because `Value` itself would not be written to this depth.
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let message = refused(&env, &json!({}), &Value::String(deep)).await;
    assert!(message.contains("CheckDeployment"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_output__foreign_arn_fails_clearly() {
    let env = Environment::start().await;
    let foreign = "arn:aws:elasticloadbalancing:ap-northeast-2:999999999999:targetgroup/b/1";
    let registered = json!({"codeDeployDeploymentId": "{codeDeployDeploymentId}"});
    let message = refused(&env, &registered, &approval(&json!({"blueTargetGroupArn": foreign}))).await;
    assert!(message.contains("999999999999"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_output__address_without_http_is_never_requested() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let registered = json!({"codeDeployDeploymentId": "{codeDeployDeploymentId}"});
    for scheme in ["ftp", "gopher", "ws", "file"] {
        let env = Environment::start().await;
        let url = format!("{scheme}://127.0.0.1:{port}/health");
        let message = refused(&env, &registered, &approval(&json!({"greenUrl": url}))).await;
        assert!(message.contains("greenUrl"), "{message}");
    }
    let requested = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(requested.is_err(), "nothing connects: {requested:?}");
}
