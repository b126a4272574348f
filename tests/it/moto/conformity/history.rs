//! An execution of the same three states on both: events, their order, ids and fields.

use serde_json::{Value, json};

use super::Who::Controller;
use super::compare::{Gap, Transcript, compare};
use super::{Pair, Side};
use crate::moto::pipeline::{Pipeline, echo, held};
use crate::sandbox::harness::App;
use crate::support::wait_for;

const STATES: [(&str, &str); 3] =
    [("EnsureInfra", "infraResult"), ("RegisterTaskAndDeploy", "deployResult"), ("CheckDeployment", "checkResult")];

const DESCRIBE: &str = "https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html";

const GAPS: [Gap; 5] = [
    Gap {
        at: "*.ExecutedVersion",
        why: "moto's lambda:invoke answers without ExecutedVersion, which Lambda always has",
        docs: "https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html",
    },
    Gap {
        at: "*taskScheduledEventDetails.parameters.Payload.*",
        why: "moto's functions return their input, so they receive the sandbox's answers here",
        docs: "https://docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html",
    },
    Gap {
        at: "DescribeExecution inputDetails",
        why: "moto omits it; AWS has it whenever there is an input",
        docs: DESCRIBE,
    },
    Gap {
        at: "DescribeExecution redriveCount",
        why: "moto omits it; AWS has it for every standard execution",
        docs: DESCRIBE,
    },
    Gap {
        at: "newest first*",
        why: "moto returns the whole history, oldest first, for any request",
        docs: "https://docs.aws.amazon.com/step-functions/latest/apireference/API_GetExecutionHistory.html",
    },
];

/// The events up to the exit of the last of the three states.
async fn history(side: &Side, execution: &str) -> Vec<Value> {
    wait_for("the three states are left", async || {
        let answer = side.call(Controller, "AWSStepFunctions.GetExecutionHistory", json!({"executionArn": execution}));
        let events = answer.await["events"].as_array().unwrap().clone();
        let last = events.iter().position(|event| {
            event["type"] == "TaskStateExited" && event["stateExitedEventDetails"]["name"] == STATES[2].0
        });
        last.map(|last| events[..=last].to_vec())
    })
    .await
}

/// One entry per event, so that a failure names the event.
async fn transcript(side: &Side, execution: &str) -> Transcript {
    let mut transcript = Transcript::new();
    for event in history(side, execution).await {
        transcript.push((format!("{}:{}", event["id"], event["type"].as_str().unwrap()), event));
    }
    let input = json!({"executionArn": execution});
    let mut described = side.call(Controller, "AWSStepFunctions.DescribeExecution", input).await;
    // The name differs between both, but must be the end of the ARN.
    let name = described.as_object_mut().unwrap().remove("name").unwrap();
    assert_eq!(execution.rsplit(':').next(), name.as_str());
    transcript.push(("DescribeExecution".to_owned(), described));
    let input = json!({"executionArn": execution, "reverseOrder": true, "maxResults": 2});
    let page = side.call(Controller, "AWSStepFunctions.GetExecutionHistory", input).await;
    let page = page["events"].as_array().unwrap();
    let descending = page.windows(2).all(|two| two[0]["id"].as_u64() > two[1]["id"].as_u64());
    transcript.push(("newest first".to_owned(), json!({"descending": descending, "length": page.len()})));
    transcript
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformity__execution_history() {
    // The fourth state waits for the switch, so both executions stay unchanged during the comparison.
    let mut pair = Pair::start().await;
    pair.harness.link("acme-hello").await;
    let digest = pair.harness.push("acme-hello", App::Hello("one")).await;
    let ours = pair.harness.execution_of("acme-hello", &digest).await;
    let reported = transcript(&pair.ours, &ours).await;
    let answer = |event: &str, member: &str, text: &str| -> Value {
        let (_, found) = reported.iter().find(|(what, _)| what == event).unwrap();
        serde_json::from_str(found.pointer(&format!("/{member}/{text}")).unwrap().as_str().unwrap()).unwrap()
    };
    let input = answer("1:ExecutionStarted", "executionStartedEventDetails", "input");
    let outputs = answer("16:TaskStateExited", "stateExitedEventDetails", "output");

    let definition = |queue: &str| {
        let mut states = json!({"AwaitTrafficShift": held("AwaitTrafficShift", "shiftResult", queue, None)});
        let next = ["RegisterTaskAndDeploy", "CheckDeployment", "AwaitTrafficShift"];
        for ((state, path), next) in STATES.into_iter().zip(next) {
            states[state] = echo(state, path, &outputs[path]["Payload"], Some(next));
        }
        json!({"StartAt": "EnsureInfra", "States": states})
    };
    let pipeline = Pipeline::without_bus(&pair.moto_controller, &pair.theirs.endpoint, definition).await;
    let theirs = pipeline.start(&input, "acme-hello").await;
    pipeline.work("AwaitTrafficShift").await;
    let answered = transcript(&pair.theirs, &theirs).await;
    pair.harness.end().await;
    compare(&reported, &answered, &GAPS);
}
