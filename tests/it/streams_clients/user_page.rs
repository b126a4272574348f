//! A front end's script as its authors wrote it: it closes its stream at the first error, and never opens another one.

use std::time::Duration;

use panda_sandbox::{ExecutionFault, Faults, Outcome};
use panda_testing::api_client::ApiClient;
use tokio::time::{Instant, sleep_until};

use super::documents::{lines, run_in_page};
use super::nginx::Nginx;
use super::proxies::recipe;
use crate::http::Reader;
use crate::support::environment::{Environment, hello};
use crate::support::panda::Panda;
use crate::support::sse_reader::Message;
use crate::support::wait_for;

/// The page around the user's script: its functions of the user interface, and a user who switches once the deployment is ready.
const USER_INTERFACE: &str = r"
const deploymentId = id;
const showManualSwitchButton = () => console.log('UI: switch button');
const updateProgressUI = (stage) => console.log(`UI: stage ${stage}`);
const showErrorMessage = (message) => console.log(`UI: failed: ${message}`);
const showSuccessMessage = async (message) => {
  console.log(`UI: success: ${message}`);
  await manuallySwitch(deploymentId);
  await getDeploymentResult(deploymentId);
};
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_page__unmodified_script_sees_whole_deployment() {
    let env = Environment::with_files(hello("2.0.0")).await;
    // Time runs 12,000 times as fast for rotations: half an hour is 0.15 s, and the deployment takes many times as long.
    let panda = Panda::builder().environment(&env).flags(&["--stream-rotation-ms=50"]).server().await;
    wait_for("Panda is ready", async || panda.is_ready().await).await;
    let request = panda.connect(&env).await;
    let id = panda.deploy(&request).await;
    let output = run_in_page(&format!("{USER_INTERFACE}{}", include_str!("user_page.js")), &panda.base, &id).await;
    let (seen, errors) = (lines(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && errors.is_empty(), "the stream broke: {errors}\n{seen:#?}");
    for line in [
        "Stage: [Step 1] EventBridge 규칙 생성 완료",
        "UI: stage 1",
        "Stage: [Stage 2] 이미지 Push 완료",
        "UI: stage 4",
        "UI: switch button",
        "Success: Deployment ready for manual traffic switch",
        "UI: success: Deployment ready for manual traffic switch",
    ] {
        assert!(seen.iter().any(|seen| seen == line), "{line}: {seen:#?}");
    }
    let (_, result) = panda.get(&format!("/deploy/{id}/result")).await;
    let stages = seen.iter().filter(|line| line.starts_with("Stage: ")).count();
    assert!(
        stages > 15 && result["data"]["eventCount"].as_u64().unwrap() > u64::try_from(stages).unwrap(),
        "{stages}: {result}"
    );
    assert!(seen.iter().any(|line| line.starts_with("Deployment status: ")), "{seen:#?}");
    wait_for("the switch that the page requested is done", async || {
        panda.get(&format!("/deploy/{id}/result")).await.1["data"]["status"] == "COMPLETED"
    })
    .await;
    panda.stop().await;
}

/// Half an hour, 100 times as fast.
const HALF_AN_HOUR: Duration = Duration::from_secs(18);

/// The same script behind the recipe for nginx, while the replica that follows the execution is killed and the other one takes over. Time runs 100
/// times as fast: keep-alives every 150 ms, nginx's time limit of 600 ms, rotations after 6 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_page__half_an_hour_behind_recipe_while_a_replica_dies() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let stuck = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), stuck)].into(), ..Faults::default() });
    let flags = ["--stream-keep-alive-ms=150", "--stream-rotation-ms=6000", "--lease-ms=1500"];
    let replica = Panda::builder().environment(&env).flags(&flags).process();
    let mut dying = replica.ready().await;
    let api = ApiClient::of(dying.url.clone());
    let id = api.deploy(&api.connect(&env).await).await;
    wait_for("the replica follows the execution", async || {
        env.db.db.deployment(&id).await.unwrap().unwrap().facts.execution_arn.is_some()
    })
    .await;
    let staying = replica.ready().await;
    let nginx = Nginx::serving(&format!("proxy_read_timeout 600ms;\n{}", recipe(staying.listen))).await;
    let begun = Instant::now();
    let script = format!("{USER_INTERFACE}{}", include_str!("user_page.js"));
    let page = tokio::spawn({
        let (origin, id) = (nginx.url.clone(), id.clone());
        async move { run_in_page(&script, &origin, &id).await }
    });
    let mut wire = Reader::open(reqwest::Client::new().get(format!("{}/api/v1/deploy/{id}/events", nginx.url))).await;
    sleep_until(begun + HALF_AN_HOUR / 3).await;
    dying.kill().await;
    // The test needs real time: a deployment of half an hour, on one connection.
    sleep_until(begun + HALF_AN_HOUR).await;
    env.sandbox.faults().clear();
    let output = page.await.unwrap();
    let (seen, errors) = (lines(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && errors.is_empty(), "the stream broke: {errors}\n{seen:#?}");
    let sent = wire.rest().await;
    let before_success = sent.iter().take_while(|message| message.event == "stage");
    let shown = seen.iter().filter_map(|line| line.strip_prefix("Stage: "));
    assert!(shown.eq(before_success.map(Message::text)), "each event once, in order: {seen:#?}");
    assert!(seen.iter().any(|line| line == "UI: switch button"), "{seen:#?}");
    assert!(seen.iter().any(|line| line.starts_with("Deployment status: ")), "{seen:#?}");
    assert!(wire.comments.len() > 60, "keep-alives: {}", wire.comments.len());
    let result = ApiClient::of(nginx.url.clone()).get(&format!("/deploy/{id}/result")).await.1;
    assert_eq!(result["data"]["status"], "COMPLETED", "{result}");
}
