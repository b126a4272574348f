//! A run of the same three states on both: which events there are, in which order, with which ids and members.

use serde_json::{Value, json};

use super::Who::Controller;
use super::compare::{Gap, Transcript, compare};
use super::{Pair, Side};
use crate::moto::pipeline::{Pipeline, echo, held};
use crate::sandbox::bench::App;
use crate::support::wait_for;

const STATES: [(&str, &str); 3] =
    [("EnsureInfra", "infraResult"), ("RegisterTaskAndDeploy", "deployResult"), ("CheckDeployment", "checkResult")];

const GAPS: [Gap; 5] = [
    Gap {
        at: "*.ExecutedVersion",
        why: "moto's lambda:invoke answers without ExecutedVersion, which Lambda always has",
    },
    Gap {
        at: "*taskScheduledEventDetails.parameters.Payload.*",
        why: "moto's functions answer what they are given, so here they are given what the sandbox's answered",
    },
    Gap { at: "DescribeExecution inputDetails", why: "moto leaves it out; AWS has it whenever there is an input" },
    Gap { at: "DescribeExecution redriveCount", why: "moto leaves it out; AWS has it for every standard execution" },
    Gap { at: "newest first*", why: "moto gives the whole history, oldest first, whatever is asked for" },
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

/// One question an event, so that a difference is named by its event.
async fn transcript(side: &Side, execution: &str) -> Transcript {
    let mut transcript = Transcript::new();
    for event in history(side, execution).await {
        transcript.push((format!("{}:{}", event["id"], event["type"].as_str().unwrap()), event));
    }
    let input = json!({"executionArn": execution});
    let mut described = side.call(Controller, "AWSStepFunctions.DescribeExecution", input).await;
    // Everybody's own, and yet the end of the ARN.
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
async fn a_run_of_the_same_states_leaves_the_same_history() {
    // The fourth state waits for the switch, so both executions stay as they are while they are compared.
    let mut pair = Pair::start().await;
    pair.bench.link("acme-hello").await;
    let digest = pair.bench.push("acme-hello", App::Hello("one")).await;
    let ours = pair.bench.execution_of("acme-hello", &digest).await;
    let told = transcript(&pair.ours, &ours).await;
    let answer = |event: &str, member: &str, text: &str| -> Value {
        let (_, found) = told.iter().find(|(what, _)| what == event).unwrap();
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
    pair.bench.end().await;
    compare(&told, &answered, &GAPS);
}
