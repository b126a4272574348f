//! Executions as the controller reads them, green being a real container.

use aws_sdk_sfn::types::HistoryEventType as Type;
use pretty_assertions::assert_eq;

use super::harness::{App, Harness, fetch, types};

#[tokio::test]
async fn pipeline__reaches_approval_with_contract_outputs() {
    let mut harness = Harness::start().await;
    harness.link("acme-hello").await;
    let digest = harness.push("acme-hello", App::Hello("v1")).await;
    let arn = harness.execution_of("acme-hello", &digest).await;
    let approval = harness.approval(&arn).await;
    assert_eq!(approval["stage"], "CHECK_DEPLOYMENT");
    for group in ["blueTargetGroupArn", "greenTargetGroupArn"] {
        assert!(approval["checkResult"][group].as_str().unwrap().starts_with("arn:aws:elasticloadbalancing:"));
    }
    let infra = &harness.output_of(&arn, "EnsureInfra").await["infraResult"]["Payload"];
    assert_eq!(
        (infra["clusterName"].as_str(), infra["serviceName"].as_str()),
        (Some("panda-cluster"), Some("acme-hello"))
    );
    assert_eq!(infra["taskDefinition"], "acme-hello:1");
    let deployed = &harness.output_of(&arn, "RegisterTaskAndDeploy").await["deployResult"]["Payload"];
    assert_eq!(deployed["blueService"]["url"], approval["blueUrl"]);
    assert_eq!(deployed["greenService"]["url"], approval["greenUrl"]);
    assert!(deployed["greenService"]["serviceArn"].as_str().unwrap().starts_with("arn:aws:ecs:"));
    assert!(deployed["codeDeployDeploymentId"].as_str().unwrap().starts_with("d-"));
    assert_eq!(deployed["codeDeployApplicationName"], "acme-hello-app");

    let (status, text) = fetch(approval["blueUrl"].as_str().unwrap()).await;
    assert_eq!((status, text.contains("placeholder")), (200, true));
    assert_eq!(fetch(approval["greenUrl"].as_str().unwrap()).await, (200, "v1\n".to_owned()));

    let state =
        [Type::TaskStateEntered, Type::TaskScheduled, Type::TaskStarted, Type::TaskSucceeded, Type::TaskStateExited];
    let mut expected = vec![Type::ExecutionStarted];
    expected.extend(state.iter().cycle().take(15).cloned());
    let history = harness.history(&arn).await;
    assert_eq!(types(&history)[..16], expected);
    assert!(history.iter().zip(1..).all(|(event, id)| event.id == id));
    assert_eq!(history[1].previous_event_id, 0);
    assert_eq!(history[2].previous_event_id, 2);
    harness.end().await;
}

#[tokio::test]
async fn pipeline__history_paged_and_reversed() {
    let mut harness = Harness::start().await;
    harness.link("acme-hello").await;
    let digest = harness.push("acme-hello", App::Exits).await;
    let arn = harness.execution_of("acme-hello", &digest).await;
    harness.end_of(&arn).await;
    let last = harness.history(&arn).await.len();

    let call = || harness.sfn().get_execution_history().execution_arn(&arn).max_results(4).reverse_order(true);
    let mut seen = Vec::new();
    let mut page = call().send().await.unwrap();
    loop {
        assert!(page.events().len() <= 4);
        seen.extend(page.events().iter().map(|event| usize::try_from(event.id).unwrap()));
        let Some(token) = page.next_token() else { break };
        page = call().next_token(token).send().await.unwrap();
    }
    assert_eq!(seen, (1..=last).rev().collect::<Vec<_>>());

    let without =
        harness.sfn().get_execution_history().execution_arn(&arn).include_execution_data(false).send().await.unwrap();
    assert_eq!(without.events()[0].execution_started_event_details().unwrap().input(), None);
    let wrong = call().next_token("nonsense").send().await.unwrap_err().into_service_error();
    assert!(wrong.is_invalid_token(), "{wrong:?}");
    let absent = harness.sfn().get_execution_history().execution_arn(format!("{arn}x")).send().await.unwrap_err();
    assert!(absent.into_service_error().is_execution_does_not_exist());
    harness.end().await;
}

#[tokio::test]
async fn pipeline__green_exit_fails_with_last_output() {
    let mut harness = Harness::start().await;
    harness.link("acme-hello").await;
    let digest = harness.push("acme-hello", App::Exits).await;
    let arn = harness.execution_of("acme-hello", &digest).await;
    let end = harness.end_of(&arn).await;
    assert_eq!(end.r#type, Type::ExecutionFailed);
    let details = end.execution_failed_event_details().unwrap();
    assert_eq!(details.error(), Some("DeploymentFailed"));
    let cause = details.cause().unwrap();
    assert!(
        cause.contains("circuit breaker") && cause.contains("exit code 3") && cause.contains("cannot find my database"),
        "{cause}"
    );
    let failed = harness.history(&arn).await.into_iter().rev().nth(1).unwrap();
    assert_eq!(failed.r#type, Type::TaskFailed);
    harness.end().await;
}

#[tokio::test]
async fn pipeline__unhealthy_green_reaches_approval_with_blue_serving() {
    let mut harness = Harness::with(super::harness::brisk(), Some(App::Hello("v0"))).await;
    harness.link("acme-hello").await;
    let digest = harness.push("acme-hello", App::Broken).await;
    let arn = harness.execution_of("acme-hello", &digest).await;
    let approval = harness.approval(&arn).await;
    assert_eq!(fetch(approval["greenUrl"].as_str().unwrap()).await.0, 500);
    assert_eq!(fetch(approval["blueUrl"].as_str().unwrap()).await, (200, "v0\n".to_owned()));
    harness.end().await;
}

#[tokio::test]
async fn pipeline__repositories_deploy_independently() {
    let mut harness = Harness::start().await;
    let mut pushed = Vec::new();
    for (repository, version) in [("acme-one", "one"), ("acme-two", "two"), ("acme-three", "three")] {
        harness.link(repository).await;
        pushed.push((repository, version, harness.push(repository, App::Hello(version)).await));
    }
    for (repository, version, digest) in pushed {
        let arn = harness.execution_of(repository, &digest).await;
        let approval = harness.approval(&arn).await;
        assert_eq!(fetch(approval["greenUrl"].as_str().unwrap()).await.1, format!("{version}\n"));
        assert_eq!(harness.sandbox.effects(repository).execution_arns, [arn]);
    }
    harness.end().await;
}
