//! The main flow through the API: connect, deploy, read the stream, switch, read the result.

use std::collections::BTreeMap;

use panda_sandbox::git::SourceFile;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::sandbox::harness::fetch;
use crate::support::api_client::ApiClient;
use crate::support::environment::{Environment, TOKEN, hello};
use crate::support::panda::Panda;
use crate::support::sse_reader::Reader;
use crate::support::wait_for;

/// One event with its parsed data.
#[derive(Clone, Debug)]
struct StreamEvent {
    id: String,
    name: String,
    data: Value,
}

/// Reads the stream until the server ends it.
async fn stream(panda: &ApiClient, id: &str, query: &str) -> Vec<StreamEvent> {
    let mut reader = Reader::open(panda.http.get(panda.url(&format!("/deploy/{id}/events{query}")))).await;
    assert_eq!(reader.status, 200);
    let messages = reader.rest().await.into_iter();
    messages.map(|message| StreamEvent { data: message.json(), id: message.id, name: message.event }).collect()
}

/// The agreed messages by language, as patterns in the order of the catalogue.
fn catalogue(lang: &str) -> BTreeMap<String, Value> {
    let catalogue: Vec<Value> = serde_json::from_str(include_str!("../../../src/domain/events.json")).unwrap();
    catalogue.into_iter().map(|entry| (entry["message"][lang].as_str().unwrap().to_owned(), entry)).collect()
}

/// Details that Panda adds to an event of the catalogue.
fn extra_details(code: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../../../src/domain/extra_details.json")).unwrap();
    all.get(code).cloned().unwrap_or_default()
}

/// Finds the entry whose template begins as `message` does, up to its first parameter.
fn entry_of<'a>(catalogue: &'a BTreeMap<String, Value>, message: &str) -> Option<&'a Value> {
    let matches = |template: &str| match template.split_once('{') {
        Some((before, _)) => message.starts_with(before),
        None => message == template,
    };
    catalogue.iter().find(|(template, _)| matches(template)).map(|(_, entry)| entry)
}

/// Asserts that each event has the type, the stage and no other details than its entry in the Korean catalogue.
fn assert_as_in_catalogue(events: &[StreamEvent]) {
    let korean = catalogue("ko");
    for event in events {
        let message = event.data["message"].as_str().unwrap();
        let entry = entry_of(&korean, message).unwrap_or_else(|| panic!("not in the catalogue: {message}"));
        assert_eq!(entry["type"], event.name.as_str());
        if event.name == "stage" {
            assert_eq!(event.data["type"], "stage");
            assert_eq!(event.data["details"]["stage"], entry["details"]["stage"]);
            let more = extra_details(entry["code"].as_str().unwrap());
            for detail in event.data["details"].as_object().unwrap().keys() {
                let known = entry["details"].get(detail).or_else(|| more.get(detail));
                assert!(known.is_some(), "the catalogue's entry for {message} lacks the detail {detail}");
            }
        } else {
            assert_eq!(event.data.as_object().unwrap().keys().collect::<Vec<_>>(), ["message"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flow__front_end_follows_deployment_to_completed() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let panda = Panda::builder().environment(&env).server().await;
    wait_for("Panda is ready", async || panda.is_ready().await).await;

    let request = panda.connect(&env).await;
    let (_, connections) = panda.get("/connections").await;
    assert_eq!(connections["data"]["github"][0]["repo"], env.repo.as_str());
    assert!(!connections.to_string().contains(TOKEN));

    let (status, deployed) = panda.post("/deploy", &request).await;
    assert_eq!((status, &deployed["message"]), (StatusCode::OK, &json!("배포가 시작되었습니다.")), "{deployed}");
    let id = deployed["data"]["deploymentId"].as_str().unwrap().to_owned();
    assert_eq!(deployed["data"]["message"], format!("Deployment started. Listen to /api/v1/deploy/{id}/events"));
    let (_, current) = panda.get("/deploy/current").await;
    assert_eq!(current["data"]["deploymentId"], id.as_str());

    let early = panda.post(&format!("/deploy/{id}/switch"), &json!({})).await;
    assert_eq!(early.0, StatusCode::CONFLICT, "not ready yet");

    // The stream ends five seconds after `success`.
    let seen = stream(&panda, &id, "").await;
    let last = seen.last().unwrap();
    assert_eq!(
        (last.name.as_str(), &last.data["message"]),
        ("success", &json!("Deployment ready for manual traffic switch"))
    );
    assert_as_in_catalogue(&seen);
    assert!(seen.iter().any(|event| event.data["message"].as_str().unwrap().contains("트래픽 전환 대기")));

    let english = stream(&panda, &id, "?lang=en").await;
    let ids = |events: &[StreamEvent]| events.iter().map(|event| event.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&english), ids(&seen), "the same events in English");
    let catalogue_en = catalogue("en");
    assert!(english.iter().all(|event| entry_of(&catalogue_en, event.data["message"].as_str().unwrap()).is_some()));

    // A browser that reconnects with the last id gets 204: no event can follow without a command.
    let again = panda.http.get(panda.url(&format!("/deploy/{id}/events"))).header("Last-Event-ID", &last.id);
    assert_eq!(again.send().await.unwrap().status(), StatusCode::NO_CONTENT);

    let (_, result) = panda.get(&format!("/deploy/{id}/result")).await;
    let (blue, green) = (result["data"]["blueUrl"].as_str().unwrap(), result["data"]["greenUrl"].as_str().unwrap());
    assert_eq!(result["data"]["status"], "DEPLOYMENT_READY");
    assert!(!fetch(blue).await.1.contains("2.0.0") && fetch(green).await.1.contains("2.0.0"));

    let (status, switched) = panda.post(&format!("/deploy/{id}/switch"), &json!({})).await;
    assert_eq!((status, &switched["message"]), (StatusCode::OK, &json!("배포 전환이 시작되었습니다.")), "{switched}");
    assert_eq!(switched["data"]["switchStatus"], "IN_PROGRESS");
    let rest = stream(&panda, &id, &format!("?lastEventId={}", last.id)).await;
    let messages: Vec<&str> = rest.iter().map(|event| event.data["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["[Stage 4] 트래픽 전환 시작", "[Stage 4] 배포 완료", "Deployment completed successfully"]);

    let (_, result) = panda.get(&format!("/deploy/{id}/result")).await;
    let data = &result["data"];
    assert_eq!((&data["status"], &data["finalService"]), (&json!("COMPLETED"), &json!("green")));
    assert_eq!(data["eventCount"], seen.len() + rest.len());
    assert!(data["imageDigest"].as_str().unwrap().starts_with("sha256:"));
    assert!(fetch(blue).await.1.contains("2.0.0"), "the traffic is on green");
    assert_eq!(
        panda.post(&format!("/deploy/{id}/switch"), &json!({})).await.0,
        StatusCode::CONFLICT,
        "already switched"
    );
    assert_eq!(panda.get("/deploy/current").await.0, StatusCode::NOT_FOUND);
    let (_, page) = panda.get("/deploy?status=COMPLETED").await;
    assert!(page.to_string().contains(&id), "{page}");
    panda.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flow__failure_is_one_fail_event_and_in_result() {
    let env =
        Environment::with_files(vec![SourceFile::new("Dockerfile", "FROM busybox:1\nRUN echo broken; exit 9\n")]).await;
    let panda = Panda::builder().environment(&env).server().await;
    wait_for("the API is up", async || panda.is_ready().await).await;
    let request = panda.connect(&env).await;
    let (_, deployed) = panda.post("/deploy", &request).await;
    let id = deployed["data"]["deploymentId"].as_str().unwrap().to_owned();
    let seen = stream(&panda, &id, "").await;
    let fails: Vec<&StreamEvent> = seen.iter().filter(|event| event.name != "stage").collect();
    assert_eq!(fails.len(), 1);
    assert_eq!(fails[0].name, "fail");
    let message = fails[0].data["message"].as_str().unwrap();
    assert!(message.starts_with("Docker 이미지 빌드 실패: ") && message.contains("broken"), "{message}");
    let (_, result) = panda.get(&format!("/deploy/{id}/result")).await;
    assert_eq!(result["data"]["errorCode"], "BUILD_FAILED");
    assert_eq!(result["data"]["errorMessage"], message);
    panda.stop().await;
}
