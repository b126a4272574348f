//! A reverse proxy that adds to moto the parts it lacks. Everything else passes through unchanged.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, header};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use panda_sandbox::{RegistryAddress, Sandbox};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::http::serve;

const ECR: &str = "AmazonEC2ContainerRegistry_V20150921";
const LARGEST_BODY: usize = 4 << 20;

/// A reverse proxy in front of one moto; dropping it ends it.
pub struct MotoProxy {
    url: Url,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

struct Shared {
    moto: Url,
    client: reqwest::Client,
    around: OnceLock<Around>,
}

/// Facts that are known only after the other services have started.
struct Around {
    registry: RegistryAddress,
    /// Access key id and account of the user; every other key is the controller's, whose account is moto's default.
    user: (String, &'static str),
    region: &'static str,
    /// An additional receiver of push notifications: the sandbox, which runs the user's ECS and CodeDeploy.
    also_told: Option<Url>,
}

impl MotoProxy {
    /// Listens on a free port.
    pub async fn start(moto: Url) -> Self {
        let shared = Arc::new(Shared { moto, client: reqwest::Client::new(), around: OnceLock::new() });
        let app = Router::new().route("/_front/pushed", post(pushed)).fallback(pass).with_state(Arc::clone(&shared));
        let (url, serving) = serve(app).await;
        Self { url, shared, _serving: serving }
    }

    /// Uses the sandbox's accounts and the images in `registry`; pushes are forwarded to the sandbox when it `hears_pushes`.
    pub fn connect(&self, sandbox: &Sandbox, registry: RegistryAddress, hears_pushes: bool) {
        assert_eq!(sandbox.controller_account_id(), "123456789012", "moto's account for keys that it does not know");
        let around = Around {
            registry,
            user: (sandbox.user_credentials().access_key_id.clone(), sandbox.user_account_id()),
            region: sandbox.region(),
            also_told: hears_pushes.then(|| sandbox.notification_url().clone()),
        };
        assert!(self.shared.around.set(around).is_ok(), "connected twice");
    }

    /// The `endpoint_url` of every client.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The address for the registry's notifications.
    pub fn notification_url(&self) -> Url {
        self.url.join("_front/pushed").unwrap()
    }
}

impl Shared {
    fn around(&self) -> &Around {
        self.around.get().expect("connect() comes before the first call")
    }

    /// Makes one call from the user's account; returns moto's answer, and whether it succeeded.
    async fn as_user(&self, service: &str, target: &str, body: &Value) -> (bool, Value) {
        let around = self.around();
        let scope = format!("{}/20260101/{}/{service}/aws4_request", around.user.0, around.region);
        let request = self
            .client
            .post(self.moto.clone())
            .header("x-amz-target", target)
            .header("x-moto-account-id", around.user.1)
            .header("authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"))
            .header("content-type", "application/x-amz-json-1.1")
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        (answer.status().is_success(), answer.json().await.unwrap())
    }
}

/// Forwards a call in the name of the account whose key signed it, and puts the real registry into ECR's answers.
async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LARGEST_BODY).await.unwrap();
    let mut headers: HeaderMap = parts.headers;
    for ours in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION] {
        headers.remove(ours);
    }
    let around = shared.around();
    let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if signed.contains(&format!("Credential={}/", around.user.0)) {
        headers.insert("x-moto-account-id", around.user.1.parse().unwrap());
    }
    let target = headers.get("x-amz-target").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let url = shared.moto.join(parts.uri.path_and_query().map_or("/", |path| path.as_str())).unwrap();
    let answer = shared.client.request(parts.method, url).headers(headers).body(body).send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for name in [header::CONTENT_TYPE, "x-amzn-requestid".parse().unwrap(), "x-amzn-errortype".parse().unwrap()] {
        if let Some(value) = answer.headers().get(&name) {
            response = response.header(name, value);
        }
    }
    let mut body = answer.bytes().await.unwrap();
    if let Some(operation) = target.strip_prefix(ECR).and_then(|rest| rest.strip_prefix('.'))
        && let Ok(mut shown) = serde_json::from_slice::<Value>(&body)
    {
        put_registry(&mut shown, operation, &around.registry);
        body = shown.to_string().into();
    }
    response.body(Body::from(body)).unwrap()
}

/// moto names registries of AWS, which are not reachable here.
fn put_registry(answer: &mut Value, operation: &str, registry: &RegistryAddress) {
    let put_uri = |repository: &mut Value| {
        let name = repository["repositoryName"].as_str().unwrap_or_default().to_owned();
        repository["repositoryUri"] = json!(format!("{}/{name}", registry.host_port));
    };
    match operation {
        "CreateRepository" => answer.get_mut("repository").into_iter().for_each(put_uri),
        "DescribeRepositories" => {
            answer["repositories"].as_array_mut().into_iter().flatten().for_each(put_uri);
        }
        "GetAuthorizationToken" => {
            for data in answer["authorizationData"].as_array_mut().into_iter().flatten() {
                let pair = format!("{}:{}", registry.username, registry.password.expose_secret());
                data["authorizationToken"] = json!(BASE64_STANDARD.encode(pair));
                data["proxyEndpoint"] = json!(format!("http://{}", registry.host_port));
            }
        }
        _ => {}
    }
}

/// Does ECR's work on a push, which moto never sees: records the image, and sends the event to the account's default bus. From there on moto routes
/// the event.
async fn pushed(State(shared): State<Arc<Shared>>, Json(report): Json<Value>) -> Json<()> {
    let around = shared.around();
    for event in report["events"].as_array().unwrap() {
        let target = &event["target"];
        let media_type = target["mediaType"].as_str().unwrap_or_default();
        if event["action"] != "push" || !media_type.contains("manifest") {
            continue;
        }
        let (repository, digest) = (target["repository"].as_str().unwrap(), target["digest"].as_str().unwrap());
        let manifest = shared
            .client
            .get(format!("http://{}/v2/{repository}/manifests/{digest}", around.registry.host_port))
            .basic_auth(&around.registry.username, Some(around.registry.password.expose_secret()))
            .header("accept", media_type);
        let manifest = manifest.send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
        let image = json!({
            "repositoryName": repository, "imageTag": target["tag"], "imageDigest": digest,
            "imageManifest": manifest, "imageManifestMediaType": media_type,
        });
        let (new, answer) = shared.as_user("ecr", &format!("{ECR}.PutImage"), &image).await;
        if !new {
            // The registry repeats a notification whose answer was lost.
            assert!(answer["__type"].as_str().unwrap_or_default().contains("ImageAlreadyExists"), "{answer}");
            continue;
        }
        let detail = json!({
            "result": "SUCCESS", "action-type": "PUSH", "repository-name": repository,
            "image-digest": digest, "image-tag": target["tag"], "manifest-media-type": media_type,
        });
        let entry = json!({"Source": "aws.ecr", "DetailType": "ECR Image Action", "Detail": detail.to_string()});
        let (put, answer) = shared.as_user("events", "AWSEvents.PutEvents", &json!({"Entries": [entry]})).await;
        assert!(put && answer["FailedEntryCount"] == 0, "{answer}");
    }
    if let Some(other) = &around.also_told {
        shared.client.post(other.clone()).json(&report).send().await.unwrap().error_for_status().unwrap();
    }
    Json(())
}
