//! The push under trouble: logins that end, rights that are missing, a registry that fails in the middle.

use panda::domain::connection::{AwsCredentials, AwsKeys};
use panda::domain::{ErrorCode, Lang};
use panda::metrics::Metrics;
use panda::sandbox::{CallFault, Faults, RegistryAddress};
use secrecy::ExposeSecret as _;
use serde_json::json;
use sha2::Digest as _;

use super::failures::{fails, said};
use super::{Replica, deploy, events, status};
use crate::sandbox::bench::config;
use crate::support::registry_front::{Fault, RegistryFront};
use crate::support::wait_for;
use crate::support::world::{World, tiny};

/// A small world whose registry is reached through a fault proxy.
async fn fronted() -> (World, RegistryFront) {
    let world = World::with_files(tiny()).await;
    let front = RegistryFront::before(world.registry.host_port()).await;
    world.sandbox.set_registry(RegistryAddress { host_port: front.host_port(), ..world.registry_address() });
    (world, front)
}

/// The user's ECR, as an operator uses it.
fn ecr(world: &World) -> aws_sdk_ecr::Client {
    let (endpoint, keys) = (world.sandbox.endpoint().as_str(), world.sandbox.user_credentials());
    aws_sdk_ecr::Client::new(&config(endpoint, world.sandbox.region(), keys))
}

fn denied(calls: &[&str]) -> Faults {
    let deny = CallFault { deny: true, ..CallFault::default() };
    Faults { calls: calls.iter().map(|call| ((*call).to_owned(), deny.clone())).collect(), ..Faults::default() }
}

/// Deploys until green is up; the codes of all events.
async fn succeeds(world: &World) -> Vec<String> {
    let replica = Replica::start(world, &[]);
    let id = deploy(world, "main").await;
    let ready = status(world, &id, &["DEPLOYMENT_READY", "FAILED"]).await;
    assert_eq!(ready.status.as_str(), "DEPLOYMENT_READY", "{:?}", ready.error_message);
    replica.stop().await;
    assert_eq!(world.sandbox.effects(&world.ecr_repository()).pushes.len(), 1, "one image was pushed");
    events(world, &id).await.iter().map(|event| event.code.clone()).collect()
}

const EXPIRED: Fault =
    Fault::Refuse(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.");

#[tokio::test]
async fn push_resumes_with_a_new_login_when_the_token_expires() {
    let (world, front) = fronted().await;
    front.fail("PUT", "/manifests/", EXPIRED, 1);
    succeeds(&world).await;
    assert_eq!(front.left(), 0);
    let logins = world.sandbox.all_effects().calls["ecr:GetAuthorizationToken"].succeeded;
    assert_eq!(logins, 4, "before the fetch, for base images, before the push, and again");
}

#[tokio::test]
async fn push_denied_again_with_a_fresh_login_is_final_and_names_the_rights() {
    let (world, front) = fronted().await;
    let message = "User: arn:aws:iam::210987654321:user/panda is not authorized to perform: ecr:PutImage";
    // The layers go through, with each login: what is denied is the manifest alone.
    front.fail("PUT", "/manifests/", Fault::Refuse(403, "DENIED", message), 100);
    let failed = fails(&world, &[], "main", ErrorCode::RegistryAccessDenied).await;
    let said = said(&world, &failed.id).await;
    assert!(said.contains("ecr:PutImage") && said.contains("accepts the login"), "{said}");
    assert!(front.left() > 90, "not asked over and over: {}", front.left());
}

#[tokio::test]
async fn push_waits_for_a_registry_in_trouble_and_resumes() {
    for fault in [
        Fault::Refuse(503, "UNAVAILABLE", "come back later"),
        Fault::Refuse(429, "TOOMANYREQUESTS", "Rate exceeded"),
        Fault::Refuse(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
        Fault::Refuse(400, "BLOB_UNKNOWN", "blob unknown to registry"),
    ] {
        let (world, front) = fronted().await;
        front.fail("PUT", "/manifests/", fault, 2);
        succeeds(&world).await;
        assert_eq!(front.left(), 0, "{fault:?}");
    }
}

#[tokio::test]
async fn push_whose_reply_was_lost_is_found_by_its_tag_even_where_tags_are_immutable() {
    let (world, front) = fronted().await;
    front.fail("PUT", "/manifests/", Fault::LoseReply, 1);
    let immutable = Fault::Refuse(
        400,
        "TAG_INVALID",
        "The image tag 'x' already exists in the 'y' repository and cannot be overwritten because the repository is immutable.",
    );
    front.fail("PUT", "/manifests/", immutable, 1);
    ecr(&world)
        .create_repository()
        .repository_name(world.ecr_repository())
        .image_tag_mutability(aws_sdk_ecr::types::ImageTagMutability::Immutable)
        .send()
        .await
        .unwrap();
    succeeds(&world).await;
}

#[tokio::test]
async fn push_a_registry_away_for_the_whole_limit_has_a_code_of_its_own() {
    let (world, front) = fronted().await;
    front.fail("PUT", "/manifests/", Fault::Refuse(503, "UNAVAILABLE", "come back later"), u32::MAX);
    let failed = fails(&world, &["--push-limit-ms=6000"], "main", ErrorCode::RegistryUnavailable).await;
    let said = said(&world, &failed.id).await;
    assert!(said.contains("within 6 s") && said.contains("registry"), "{said}");
}

#[tokio::test]
async fn ecr_a_right_that_only_adds_safety_is_not_required() {
    let world = World::with_files(tiny()).await;
    world.sandbox.faults().set(denied(&["ecr:TagResource", "ecr:ListTagsForResource", "ecr:DescribeImages"]));
    let told = succeeds(&world).await;
    assert_eq!(told.iter().filter(|code| *code == "ownership_unchecked").count(), 1, "{told:?}");
    assert!(told.iter().any(|code| code == "ecr_repository_ensured"));
}

#[tokio::test]
async fn ecr_an_existing_repository_whose_tags_may_not_be_read_is_deployed_to() {
    let world = World::with_files(tiny()).await;
    ecr(&world).create_repository().repository_name(world.ecr_repository()).send().await.unwrap();
    world.sandbox.faults().set(denied(&["ecr:ListTagsForResource"]));
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
    let told = events(&world, &id).await;
    let warning = told.iter().find(|event| event.code == "ownership_unchecked").unwrap().render(Lang::En);
    assert!(warning.message.contains("ecr:ListTagsForResource"), "{}", warning.message);
}

#[tokio::test]
async fn ecr_a_missing_right_is_named_and_found_before_the_build() {
    for call in ["ecr:DescribeRepositories", "ecr:GetAuthorizationToken"] {
        let world = World::with_files(tiny()).await;
        world.sandbox.faults().set(denied(&[call]));
        let failed = fails(&world, &[], "main", ErrorCode::EcrAccessDenied).await;
        assert!(said(&world, &failed.id).await.contains(call));
        let told = events(&world, &failed.id).await;
        assert!(!told.iter().any(|event| event.code == "clone_started"), "{call}: nothing was fetched");
    }
}

#[tokio::test]
async fn ecr_a_name_of_another_repository_is_refused_before_the_build() {
    let world = World::with_files(tiny()).await;
    let tag = aws_sdk_ecr::types::Tag::builder().key("panda:source").value("someone/else").build().unwrap();
    ecr(&world).create_repository().repository_name(world.ecr_repository()).tags(tag).send().await.unwrap();
    let failed = fails(&world, &[], "main", ErrorCode::RepositoryNameTaken).await;
    assert!(said(&world, &failed.id).await.contains("someone/else"));
    let told = events(&world, &failed.id).await;
    assert!(!told.iter().any(|event| event.code == "clone_started"), "nothing was fetched");
}

fn digest_of(text: &str) -> String {
    let hash = sha2::Sha256::digest(text);
    hash.iter().fold("sha256:".to_owned(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Puts `bytes` into the registry as a blob, or as the manifest `reference`; the digest.
async fn put(world: &World, reference: Option<(&str, &str)>, bytes: String) -> String {
    let digest = digest_of(&bytes);
    let name = world.ecr_repository();
    let (registry, client) = (format!("http://{}", world.registry.host_port()), reqwest::Client::new());
    let signed = |request: reqwest::RequestBuilder| {
        request.basic_auth(world.registry.username(), Some(world.registry.password().expose_secret()))
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
async fn ecr_the_digest_of_an_index_is_its_own_and_a_second_tag_keeps_it() {
    let world = World::with_files(tiny()).await;
    ecr(&world).create_repository().repository_name(world.ecr_repository()).send().await.unwrap();
    let config = put(&world, None, "{}".to_owned()).await;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
    });
    let manifest = manifest.to_string();
    let size = manifest.len();
    let digest = digest_of(&manifest);
    put(&world, Some((&digest, "manifest")), manifest).await;
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
                       "platform": {"os": "linux", "architecture": "amd64"}}],
    });
    let index = put(&world, Some(("many", "index")), index.to_string()).await;

    let services =
        panda::app::services(&world.config(&[]), Some(world.controller()), &Metrics::default()).await.unwrap();
    let keys = world.sandbox.user_credentials();
    let keys = AwsCredentials::Keys(AwsKeys {
        access_key_id: keys.access_key_id.clone(),
        secret_access_key: keys.secret_access_key.clone(),
        session_token: None,
    });
    let user = services.aws.user("aws_1", world.sandbox.region(), &keys);
    let name = world.ecr_repository();
    wait_for("the registry has reported the index", async || {
        user.ecr.find_image(&name, "many").await.unwrap().is_some()
    })
    .await;
    let found = user.ecr.find_image(&name, "many").await.unwrap().unwrap();
    assert_eq!(found.digest, index);
    assert!(found.pushed_at.is_some());
    assert!(user.ecr.tag_image(&name, "many", "again").await.unwrap());
    assert_eq!(user.ecr.find_image(&name, "again").await.unwrap().unwrap().digest, index);
    // The same by its manifest, where images may not be described.
    world.sandbox.faults().set(denied(&["ecr:DescribeImages"]));
    let found = user.ecr.find_image(&name, "many").await.unwrap().unwrap();
    assert_eq!((found.digest, found.pushed_at), (index, None));
    assert_eq!(user.ecr.find_image(&name, "none").await.unwrap(), None);
    world.sandbox.faults().set(denied(&["ecr:DescribeImages", "ecr:BatchGetImage"]));
    let error = user.ecr.find_image(&name, "many").await.unwrap_err();
    assert_eq!(error.call, "ecr:DescribeImages", "{error}");
}
