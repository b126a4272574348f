//! Pushes with expiring logins, missing rights, and a registry that fails in the middle.

use panda::domain::connection::AwsCredentials;
use panda::domain::{ErrorCode, Lang};
use panda_sandbox::{CallFault, Faults, RegistryAddress};
use secrecy::ExposeSecret as _;
use serde_json::json;
use sha2::Digest as _;

use super::failures::{fails, said};
use super::{Replica, deploy, events, status};
use crate::sandbox::harness::config;
use crate::support::environment::InProcess as _;
use crate::support::environment::keys;
use crate::support::environment::{Environment, tiny};
use crate::support::registry_proxy::{Fault, RegistryProxy};
use crate::support::wait_for;

/// A small environment whose registry is reached through a fault proxy.
async fn proxied() -> (Environment, RegistryProxy) {
    let env = Environment::with_files(tiny()).await;
    let proxy = RegistryProxy::before(env.registry.host_port()).await;
    env.sandbox.set_registry(RegistryAddress { host_port: proxy.host_port(), ..env.registry_address() });
    (env, proxy)
}

/// The user's ECR, as an operator uses it.
fn ecr(env: &Environment) -> aws_sdk_ecr::Client {
    let (endpoint, keys) = (env.sandbox.endpoint().as_str(), env.sandbox.user_credentials());
    aws_sdk_ecr::Client::new(&config(endpoint, env.sandbox.region(), keys))
}

fn denied(calls: &[&str]) -> Faults {
    let deny = CallFault { deny: true, ..CallFault::default() };
    Faults { calls: calls.iter().map(|call| ((*call).to_owned(), deny.clone())).collect(), ..Faults::default() }
}

/// Deploys until green is up; returns the codes of all events.
async fn succeeds(env: &Environment) -> Vec<String> {
    let replica = Replica::start(env, &[]);
    let id = deploy(env, "main").await;
    let ready = status(env, &id, &["DEPLOYMENT_READY", "FAILED"]).await;
    assert_eq!(ready.status.as_str(), "DEPLOYMENT_READY", "{:?}", ready.error_message);
    replica.stop().await;
    assert_eq!(env.sandbox.effects(&env.ecr_repository()).pushes.len(), 1, "one image was pushed");
    events(env, &id).await.iter().map(|event| event.code.clone()).collect()
}

const EXPIRED: Fault =
    Fault::Refuse(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.");

#[tokio::test]
async fn push__expired_login_renewed_and_resumed() {
    let (env, proxy) = proxied().await;
    proxy.fail("PUT", "/manifests/", EXPIRED, 1);
    succeeds(&env).await;
    assert_eq!(proxy.left(), 0);
    let logins = env.sandbox.all_effects().calls["ecr:GetAuthorizationToken"].succeeded;
    assert_eq!(logins, 4, "before the fetch, for base images, before the push, and again");
}

#[tokio::test]
async fn push__denied_with_fresh_login_names_rights() {
    let (env, proxy) = proxied().await;
    let message = "User: arn:aws:iam::210987654321:user/panda is not authorized to perform: ecr:PutImage";
    // The layers succeed with each login: only the manifest is denied.
    proxy.fail("PUT", "/manifests/", Fault::Refuse(403, "DENIED", message), 100);
    let failed = fails(&env, &[], "main", ErrorCode::RegistryAccessDenied).await;
    let said = said(&env, &failed.id).await;
    assert!(said.contains("ecr:PutImage") && said.contains("accepts the login"), "{said}");
    assert!(proxy.left() > 90, "not requested repeatedly: {}", proxy.left());
}

#[tokio::test]
async fn push__failing_registry_retried() {
    for fault in [
        Fault::Refuse(503, "UNAVAILABLE", "come back later"),
        Fault::Refuse(429, "TOOMANYREQUESTS", "Rate exceeded"),
        Fault::Refuse(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
        Fault::Refuse(400, "BLOB_UNKNOWN", "blob unknown to registry"),
    ] {
        let (env, proxy) = proxied().await;
        proxy.fail("PUT", "/manifests/", fault, 2);
        succeeds(&env).await;
        assert_eq!(proxy.left(), 0, "{fault:?}");
    }
}

#[tokio::test]
async fn push__lost_reply_found_by_tag() {
    let (env, proxy) = proxied().await;
    proxy.fail("PUT", "/manifests/", Fault::LoseReply, 1);
    let immutable = Fault::Refuse(
        400,
        "TAG_INVALID",
        "The image tag 'x' already exists in the 'y' repository and cannot be overwritten because the repository is immutable.",
    );
    proxy.fail("PUT", "/manifests/", immutable, 1);
    ecr(&env)
        .create_repository()
        .repository_name(env.ecr_repository())
        .image_tag_mutability(aws_sdk_ecr::types::ImageTagMutability::Immutable)
        .send()
        .await
        .unwrap();
    succeeds(&env).await;
}

#[tokio::test]
async fn push__unreachable_registry_has_own_error_code() {
    let (env, proxy) = proxied().await;
    proxy.fail("PUT", "/manifests/", Fault::Refuse(503, "UNAVAILABLE", "come back later"), u32::MAX);
    let failed = fails(&env, &["--push-limit-ms=6000"], "main", ErrorCode::RegistryUnavailable).await;
    let said = said(&env, &failed.id).await;
    assert!(said.contains("within 6 s") && said.contains("registry"), "{said}");
}

#[tokio::test]
async fn ecr__optional_right_not_required() {
    let env = Environment::with_files(tiny()).await;
    env.sandbox.faults().set(denied(&["ecr:TagResource", "ecr:ListTagsForResource", "ecr:DescribeImages"]));
    let emitted = succeeds(&env).await;
    assert_eq!(emitted.iter().filter(|code| *code == "ownership_unchecked").count(), 1, "{emitted:?}");
    assert!(emitted.iter().any(|code| code == "ecr_repository_ensured"));
}

#[tokio::test]
async fn ecr__unreadable_tags_accepted() {
    let env = Environment::with_files(tiny()).await;
    ecr(&env).create_repository().repository_name(env.ecr_repository()).send().await.unwrap();
    env.sandbox.faults().set(denied(&["ecr:ListTagsForResource"]));
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
    let emitted = events(&env, &id).await;
    let warning = emitted.iter().find(|event| event.code == "ownership_unchecked").unwrap().render(Lang::En);
    assert!(warning.message.contains("ecr:ListTagsForResource"), "{}", warning.message);
}

#[tokio::test]
async fn ecr__missing_right_named_before_build() {
    for call in ["ecr:DescribeRepositories", "ecr:GetAuthorizationToken"] {
        let env = Environment::with_files(tiny()).await;
        env.sandbox.faults().set(denied(&[call]));
        let failed = fails(&env, &[], "main", ErrorCode::EcrAccessDenied).await;
        assert!(said(&env, &failed.id).await.contains(call));
        let emitted = events(&env, &failed.id).await;
        assert!(!emitted.iter().any(|event| event.code == "clone_started"), "{call}: nothing was fetched");
    }
}

#[tokio::test]
async fn ecr__other_repository_refused_before_build() {
    let env = Environment::with_files(tiny()).await;
    let tag = aws_sdk_ecr::types::Tag::builder().key("panda:source").value("someone/else").build().unwrap();
    ecr(&env).create_repository().repository_name(env.ecr_repository()).tags(tag).send().await.unwrap();
    let failed = fails(&env, &[], "main", ErrorCode::RepositoryNameTaken).await;
    assert!(said(&env, &failed.id).await.contains("someone/else"));
    let emitted = events(&env, &failed.id).await;
    assert!(!emitted.iter().any(|event| event.code == "clone_started"), "nothing was fetched");
}

fn digest_of(text: &str) -> String {
    let hash = sha2::Sha256::digest(text);
    hash.iter().fold("sha256:".to_owned(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Puts `bytes` into the registry as a blob, or as the manifest `reference`; returns the digest.
async fn put(env: &Environment, reference: Option<(&str, &str)>, bytes: String) -> String {
    let digest = digest_of(&bytes);
    let name = env.ecr_repository();
    let (registry, client) = (format!("http://{}", env.registry.host_port()), reqwest::Client::new());
    let signed = |request: reqwest::RequestBuilder| {
        request.basic_auth(env.registry.username(), Some(env.registry.password().expose_secret()))
    };
    let request = if let Some((reference, media_type)) = reference {
        client
            .put(format!("{registry}/v2/{name}/manifests/{reference}"))
            .header("content-type", format!("application/vnd.oci.image.{media_type}.v1+json"))
    } else {
        let begun = signed(client.post(format!("{registry}/v2/{name}/blobs/uploads/"))).send().await.unwrap();
        let at = begun.headers()["location"].to_str().unwrap().to_owned();
        client.put(at).query(&[("digest", &digest)]).header("content-type", "application/octet-stream")
    };
    let answer = signed(request).body(bytes).send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    digest
}

#[tokio::test]
async fn ecr__index_digest_kept_by_second_tag() {
    let env = Environment::with_files(tiny()).await;
    ecr(&env).create_repository().repository_name(env.ecr_repository()).send().await.unwrap();
    let config = put(&env, None, "{}".to_owned()).await;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
    });
    let manifest = manifest.to_string();
    let size = manifest.len();
    let digest = digest_of(&manifest);
    put(&env, Some((&digest, "manifest")), manifest).await;
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
                       "platform": {"os": "linux", "architecture": "amd64"}}],
    });
    let index = put(&env, Some(("many", "index")), index.to_string()).await;

    let services = env.services().await;
    let keys = AwsCredentials::Keys(keys(env.sandbox.user_credentials()));
    let user = services.aws.user("aws_1", env.sandbox.region(), &keys);
    let name = env.ecr_repository();
    wait_for("the registry has reported the index", async || {
        user.ecr.find_image(&name, "many").await.unwrap().is_some()
    })
    .await;
    let found = user.ecr.find_image(&name, "many").await.unwrap().unwrap();
    assert_eq!(found.digest, index);
    assert!(found.pushed_at.is_some());
    assert!(user.ecr.tag_image(&name, "many", "again").await.unwrap());
    assert_eq!(user.ecr.find_image(&name, "again").await.unwrap().unwrap().digest, index);
    // The same by its manifest, when describing images is denied.
    env.sandbox.faults().set(denied(&["ecr:DescribeImages"]));
    let found = user.ecr.find_image(&name, "many").await.unwrap().unwrap();
    assert_eq!((found.digest, found.pushed_at), (index, None));
    assert_eq!(user.ecr.find_image(&name, "none").await.unwrap(), None);
    env.sandbox.faults().set(denied(&["ecr:DescribeImages", "ecr:BatchGetImage"]));
    let error = user.ecr.find_image(&name, "many").await.unwrap_err();
    assert_eq!(error.call, "ecr:DescribeImages", "{error}");
}
