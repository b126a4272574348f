//! Outputs that no honest pipeline writes.

use serde_json::{Value, json};

use crate::domain::history::{ExitOutput, HistoryEvent, HistoryKind, Memory, Reader, Reading, Verdict};
use crate::domain::names::Names;

fn checked(text: String) -> Reading {
    let output = ExitOutput { text: Some(text), ..ExitOutput::default() };
    let exit = HistoryKind::StateExited { name: "CheckDeployment".to_owned(), output };
    let history = [
        HistoryEvent { id: 1, previous: 0, kind: exit },
        HistoryEvent { id: 2, previous: 1, kind: HistoryKind::Succeeded },
    ];
    Reader { names: &Names::default(), accounts: &["210987654321"] }.read(&history, 0, Memory::default())
}

fn seen(text: String) -> String {
    let reading = checked(text);
    assert_eq!(reading.verdict, Some(Verdict::Succeeded));
    assert!(!reading.memory.reports_success());
    reading.memory.seen("CheckDeployment")
}

#[test]
fn deep_nesting_is_a_finding() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let text = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        assert!(seen(text).contains("nested too deeply"));
    }
    let mut text = "{\"status\":\"WAITING_APPROVAL\"}".to_owned();
    while text.len() < 200_000 {
        text = Value::String(text).to_string();
    }
    assert_eq!(checked(text).verdict, Some(Verdict::WaitingApproval), "texts in texts end at their length");
}

#[test]
fn large_outputs_are_read() {
    let filler: Vec<Value> = (0..6_000).map(|at| json!({"item": at, "text": "{\"a\":[1,2]}"})).collect();
    let text = json!({"filler": filler, "checkResult": {"Payload": {"status": "WAITING_APPROVAL"}}}).to_string();
    assert!(text.len() > 200_000);
    assert_eq!(checked(text).verdict, Some(Verdict::WaitingApproval));
    assert!(seen("x".repeat(2 << 20)).contains("more than"));
}

#[test]
fn texts_that_are_no_json_are_quoted() {
    assert!(seen("{oops".to_owned()).contains("{oops"));
    assert!(seen("\u{0}\u{1}".to_owned()).contains("not JSON"));
    let long = seen("secret ".repeat(1_000));
    assert!(long.len() < 200, "{long}");
}

#[test]
fn wrong_kinds_are_refused() {
    let approval = |key: &str, value: &str| {
        let text = json!({"status": "WAITING_APPROVAL", key: value}).to_string();
        let reading = checked(text);
        (reading.memory.refused(), reading.facts)
    };
    for id in ["ecs-svc/1", "d-", "d-a b", "arn:aws:codedeploy:x", "../d-1"] {
        let (refused, facts) = approval("codeDeployDeploymentId", id);
        assert!(refused.unwrap().contains("CodeDeploy"), "{id}");
        assert_eq!(facts.code_deploy_deployment_id, None);
    }
    for arn in [
        "",
        "d-ABCDEF123",
        "arn:aws:ecs:r:210987654321:service/c/s",
        "arn:aws:ecs:r:999999999999:service-deployment/c/s/1",
    ] {
        let (refused, facts) = approval("serviceDeploymentArn", arn);
        assert_eq!(refused.is_some(), !arn.is_empty(), "{arn}");
        assert_eq!(facts.service_deployment_arn, None);
    }
    let arn = "arn:aws:ecs:ap-northeast-2:210987654321:service-deployment/c/s/1";
    assert_eq!(approval("serviceDeploymentArn", arn).1.service_deployment_arn.as_deref(), Some(arn));
    for url in ["file:///etc/passwd", "javascript:alert(1)", "ftp://h/", "green", "data:text/html,x"] {
        let (refused, facts) = approval("greenUrl", url);
        assert!(refused.is_some(), "{url}");
        assert_eq!(facts.green_url, None);
    }
    assert_eq!(approval("blueUrl", "N/A").0, None, "there is no blue yet");
    let foreign = "arn:aws:elasticloadbalancing:ap-northeast-2:999999999999:targetgroup/b/1";
    assert!(approval("blueTargetGroupArn", foreign).0.unwrap().contains("999999999999"));
}

/// A task that is retried until AWS ends the execution leaves a small memory, and its last failure is still known.
#[test]
fn retries_do_not_fill_the_memory() {
    let mut history = Vec::new();
    for id in (1..20_000).step_by(2) {
        history.push(HistoryEvent { id, previous: id - 1, kind: HistoryKind::Progress });
        let cause = Some("no capacity in the cluster".repeat(20));
        history.push(HistoryEvent { id: id + 1, previous: id, kind: HistoryKind::Failure { error: None, cause } });
    }
    let output = ExitOutput { text: Some("{}".to_owned()), ..ExitOutput::default() };
    let exit = HistoryKind::StateExited { name: "CheckDeployment".to_owned(), output };
    history.push(HistoryEvent { id: 20_001, previous: 20_000, kind: exit });
    let reading = Reader { names: &Names::default(), accounts: &[] }.read(&history, 0, Memory::default());
    assert!(reading.memory.seen("CheckDeployment").contains("no capacity"), "{:?}", reading.memory);
    assert!(serde_json::to_string(&reading.memory).unwrap().len() < 10_000);
}
