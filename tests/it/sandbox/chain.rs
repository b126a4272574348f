//! From a push to an execution: with every link, and with each one missing.

use pretty_assertions::assert_eq;
use serde_json::Value;

use super::harness::{App, Harness};
use crate::support::wait_for;

/// A notification as docker-registry 2.8 posts it, with placeholders.
const NOTIFICATION: &str = r#"{
   "events": [
      {
         "id": "9600f62e-68ab-4c89-80da-95f8e0008469",
         "timestamp": "2026-11-23T17:15:39.657288824Z",
         "action": "push",
         "target": {
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "size": 527,
            "digest": "sha256:DIGEST",
            "length": 527,
            "repository": "REPOSITORY",
            "url": "http://127.0.0.1:36357/v2/REPOSITORY/manifests/sha256:DIGEST",
            "tag": "TAG"
         },
         "request": {
            "id": "aa465a3e-41ff-4106-abe5-d64e3a29fdb4",
            "addr": "127.0.0.1:56970",
            "host": "127.0.0.1:36357",
            "method": "PUT",
            "useragent": "docker/20.10.24+dfsg1 go/go1.19.8 os/linux arch/amd64"
         },
         "actor": {},
         "source": {
            "addr": "vm:36357",
            "instanceID": "49b1f202-8bfe-4844-adb4-167879c5a2c5"
         }
      }
   ]
}"#;

async fn notify(harness: &Harness, repository: &str, digest: &str, tag: &str) {
    let body = NOTIFICATION.replace("REPOSITORY", repository).replace("DIGEST", digest).replace("TAG", tag);
    let answer =
        reqwest::Client::new().post(harness.sandbox.notification_url().clone()).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn chain__push_starts_one_execution() {
    let mut harness = Harness::start().await;
    harness.link("acme-hello").await;
    let digest = harness.push("acme-hello", App::Hello("v1")).await;
    let arn = harness.execution_of("acme-hello", &digest).await;

    let execution = harness.sfn().describe_execution().execution_arn(&arn).send().await.unwrap();
    let input: Value = serde_json::from_str(execution.input().unwrap()).unwrap();
    assert_eq!(input["source"], "aws.ecr");
    assert_eq!(input["account"], harness.sandbox.user_account_id());
    assert_eq!(input["detail"]["repository-name"], "acme-hello");
    assert_eq!(input["detail"]["image-digest"], digest.as_str());
    assert_eq!(arn.split(':').nth(4), Some(harness.sandbox.controller_account_id()));

    let images = harness.ecr().describe_images().repository_name("acme-hello").send().await.unwrap();
    let [image] = images.image_details() else { panic!("one image: {images:?}") };
    assert_eq!(image.image_digest(), Some(digest.as_str()));
    assert_eq!(Some(image.image_tags()[0].as_str()), input["detail"]["image-tag"].as_str());
    assert!(image.image_pushed_at().is_some());

    let name = "panda/stepfunctions/acme-hello-latest-execution";
    wait_for("the secret names the execution", async || {
        let Ok(secret) = harness.secrets().get_secret_value().secret_id(name).send().await else { return false };
        let value: Value = serde_json::from_str(secret.secret_string().unwrap()).unwrap();
        value["executionArn"] == arn.as_str()
    })
    .await;
    let effects = harness.sandbox.effects("acme-hello");
    assert_eq!((effects.pushes[&digest], effects.executions[&digest]), (1, 1));
    harness.end().await;
}

/// Pushes to an incomplete chain, completes it, pushes again: once the second push has its execution, the first had its chance and must have none.
async fn starts_nothing(incomplete: impl AsyncFnOnce(&Harness)) {
    let harness = Harness::start().await;
    harness.create_repository("acme-hello").await;
    incomplete(&harness).await;
    let (first, second) = ("a".repeat(64), "b".repeat(64));
    notify(&harness, "acme-hello", &first, "one").await;

    harness.put_rule("acme-hello", "acme-hello").await;
    harness.put_target("acme-hello").await;
    harness.permit().await;
    notify(&harness, "acme-hello", &second, "two").await;
    harness.execution_of("acme-hello", &format!("sha256:{second}")).await;
    let effects = harness.sandbox.effects("acme-hello");
    assert_eq!(effects.pushes.len(), 2);
    assert_eq!(effects.executions.keys().collect::<Vec<_>>(), [&format!("sha256:{second}")]);
    harness.end().await;
}

#[tokio::test]
async fn chain__no_rule_starts_nothing() {
    starts_nothing(async |harness| harness.permit().await).await;
}

#[tokio::test]
async fn chain__other_repository_rule_starts_nothing() {
    starts_nothing(async |harness| {
        harness.put_rule("other", "acme-other").await;
        harness.put_target("other").await;
        harness.permit().await;
    })
    .await;
}

#[tokio::test]
async fn chain__rule_without_bus_target_starts_nothing() {
    starts_nothing(async |harness| {
        harness.put_rule("acme-hello", "acme-hello").await;
        harness.permit().await;
    })
    .await;
}

#[tokio::test]
async fn chain__bus_without_permission_starts_nothing() {
    starts_nothing(async |harness| {
        harness.put_rule("acme-hello", "acme-hello").await;
        harness.put_target("acme-hello").await;
    })
    .await;
}

#[tokio::test]
async fn chain__duplicate_notification_starts_one_execution() {
    let harness = Harness::start().await;
    harness.link("acme-hello").await;
    let (first, second) = ("a".repeat(64), "b".repeat(64));
    notify(&harness, "acme-hello", &first, "one").await;
    notify(&harness, "acme-hello", &first, "one").await;
    notify(&harness, "acme-hello", &second, "two").await;
    harness.execution_of("acme-hello", &format!("sha256:{second}")).await;
    let effects = harness.sandbox.effects("acme-hello");
    assert_eq!(effects.pushes[&format!("sha256:{first}")], 2);
    assert_eq!(effects.executions[&format!("sha256:{first}")], 1);
    harness.end().await;
}

#[tokio::test]
async fn chain__push_to_unknown_repository_counted_separately() {
    let harness = Harness::start().await;
    harness.put_rule("acme-hello", "acme-hello").await;
    harness.put_target("acme-hello").await;
    harness.permit().await;
    notify(&harness, "acme-hello", &"a".repeat(64), "one").await;
    assert_eq!(harness.sandbox.all_effects().unknown_pushes["acme-hello"], 1);
    assert_eq!(harness.sandbox.effects("acme-hello").pushes.len(), 0);
    harness.end().await;
}

#[tokio::test]
async fn chain__invalid_notification_refused_blob_and_pull_ignored() {
    let harness = Harness::start().await;
    harness.link("acme-hello").await;
    let client = reqwest::Client::new();
    let post = async |body: String| {
        client.post(harness.sandbox.notification_url().clone()).body(body).send().await.unwrap().status()
    };
    assert_eq!(post("{}".to_owned()).await, 400);
    let envelope = NOTIFICATION.replace("REPOSITORY", "acme-hello").replace("DIGEST", &"a".repeat(64));
    assert_eq!(post(envelope.replace("\"push\"", "\"pull\"")).await, 200);
    assert_eq!(post(envelope.replace("vnd.docker.distribution.manifest.v2+json", "octet-stream")).await, 200);
    assert_eq!(harness.sandbox.effects("acme-hello").pushes.len(), 0);
    harness.end().await;
}
