//! ECR: repositories and the images that the registry reported.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::accounts::{Caller, REGION};
use super::super::world::World;
use super::error::AwsError;
use super::{epoch, input, unknown};

/// By account and name.
pub type Repositories = BTreeMap<(String, String), Repository>;

/// An ECR repository.
pub struct Repository {
    created: DateTime<Utc>,
    tags: Vec<Value>,
    immutable: bool,
    /// By digest.
    images: BTreeMap<String, Image>,
}

struct Image {
    tags: BTreeSet<String>,
    pushed: DateTime<Utc>,
    size: u64,
    media_type: String,
}

impl Repository {
    /// Records a push. False when the tag already pointed to this digest: nothing new, so no event.
    pub fn record(&mut self, digest: &str, tag: Option<&str>, size: u64, media_type: &str) -> bool {
        let known = self.images.contains_key(digest);
        let image = self.images.entry(digest.to_owned()).or_insert_with(|| Image {
            tags: BTreeSet::new(),
            pushed: Utc::now(),
            size,
            media_type: media_type.to_owned(),
        });
        let Some(tag) = tag else { return !known };
        if !image.tags.insert(tag.to_owned()) {
            return false;
        }
        image.pushed = Utc::now();
        for (other, image) in &mut self.images {
            if other != digest {
                image.tags.remove(tag);
            }
        }
        true
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    repository_name: String,
    #[serde(default)]
    tags: Vec<Value>,
    image_tag_mutability: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PutLifecyclePolicy {
    repository_name: String,
    lifecycle_policy_text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    repository_names: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListTags {
    resource_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Images {
    repository_name: String,
    image_ids: Option<Vec<ImageId>>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct ImageId {
    image_digest: Option<String>,
    image_tag: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Put {
    repository_name: String,
    image_manifest: String,
    image_manifest_media_type: Option<String>,
    image_tag: String,
}

impl ImageId {
    fn means(&self, digest: &str, image: &Image) -> bool {
        self.image_digest.as_ref().is_none_or(|wanted| wanted == digest)
            && self.image_tag.as_ref().is_none_or(|wanted| image.tags.contains(wanted))
    }

    fn shown(&self) -> Value {
        let mut id = json!({});
        if let Some(digest) = &self.image_digest {
            id["imageDigest"] = json!(digest);
        }
        if let Some(tag) = &self.image_tag {
            id["imageTag"] = json!(tag);
        }
        id
    }
}

pub async fn call(world: &World, caller: &Caller, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
    match operation {
        "CreateRepository" => create(world, caller, input(body)?),
        "PutLifecyclePolicy" => put_lifecycle_policy(world, caller, input(body)?),
        "DescribeRepositories" => describe(world, caller, &input(body)?),
        "ListTagsForResource" => list_tags(world, caller, &input(body)?),
        "GetAuthorizationToken" => authorization(world),
        "DescribeImages" => describe_images(world, caller, &input(body)?),
        "BatchGetImage" => batch_get(world, caller, &input(body)?).await,
        "PutImage" => put_image(world, caller, input(body)?).await,
        other => Err(unknown("ecr", other)),
    }
}

fn create(world: &World, caller: &Caller, new: Create) -> Result<Value, AwsError> {
    let name = new.repository_name;
    // ECR's own pattern: lower-case parts joined by one of . _ - or /.
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = (2..=256).contains(&name.len())
        && name.split(['/', '.', '_', '-']).all(|part| !part.is_empty() && part.bytes().all(edge));
    if !fits {
        let message = format!(
            "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression' ({name})"
        );
        return Err(AwsError::new("InvalidParameterException", message));
    }
    // A right that AWS asks for only when a repository is created with tags.
    if !new.tags.is_empty() && world.faults.get().calls.get("ecr:TagResource").is_some_and(|fault| fault.deny) {
        let message = format!("User: {} is not authorized to perform: ecr:TagResource", caller.arn);
        return Err(AwsError::new("AccessDeniedException", message));
    }
    let host = world.registry()?.host_port;
    world.change(|state| {
        let key = (caller.account.clone(), name.clone());
        if state.repositories.contains_key(&key) {
            let message = format!(
                "The repository with name '{name}' already exists in the registry with id '{}'",
                caller.account
            );
            return Err(AwsError::new("RepositoryAlreadyExistsException", message));
        }
        let immutable = new.image_tag_mutability.as_deref() == Some("IMMUTABLE");
        let repository = Repository { created: Utc::now(), tags: new.tags, immutable, images: BTreeMap::new() };
        let answer = json!({"repository": shown(&caller.account, &name, &repository, &host)});
        state.repositories.insert(key, repository);
        state.effects.of(&name).created += 1;
        Ok(answer)
    })
}

fn describe(world: &World, caller: &Caller, wanted: &Describe) -> Result<Value, AwsError> {
    let host = world.registry()?.host_port;
    world.read(|state| {
        let names: Vec<String> = match &wanted.repository_names {
            Some(names) => names.clone(),
            None => state
                .repositories
                .keys()
                .filter(|(owner, _)| *owner == caller.account)
                .map(|(_, name)| name.clone())
                .collect(),
        };
        let found: Result<Vec<Value>, AwsError> = names
            .iter()
            .map(|name| find(&state.repositories, caller, name).map(|found| shown(&caller.account, name, found, &host)))
            .collect();
        Ok(json!({"repositories": found?}))
    })
}

fn list_tags(world: &World, caller: &Caller, wanted: &ListTags) -> Result<Value, AwsError> {
    let name = wanted.resource_arn.split_once(":repository/").map_or("", |(_, name)| name);
    world.read(|state| find(&state.repositories, caller, name).map(|found| json!({"tags": found.tags})))
}

fn authorization(world: &World) -> Result<Value, AwsError> {
    let registry = world.registry()?;
    let token = STANDARD.encode(format!("{}:{}", registry.username, registry.password.expose_secret()));
    Ok(json!({"authorizationData": [{
        "authorizationToken": token,
        "expiresAt": epoch(Utc::now() + TimeDelta::hours(12)),
        "proxyEndpoint": format!("http://{}", registry.host_port),
    }]}))
}

fn describe_images(world: &World, caller: &Caller, wanted: &Images) -> Result<Value, AwsError> {
    world.read(|state| {
        let name = &wanted.repository_name;
        let repository = find(&state.repositories, caller, name)?;
        let all = ImageId { image_digest: None, image_tag: None };
        let mut details = Vec::new();
        for id in wanted.image_ids.as_deref().unwrap_or(&[all]) {
            let found: Vec<_> = repository.images.iter().filter(|(digest, image)| id.means(digest, image)).collect();
            if found.is_empty() && wanted.image_ids.is_some() {
                let message = format!("The image with imageId {} does not exist within the repository with name '{name}'", id.shown());
                return Err(AwsError::new("ImageNotFoundException", message));
            }
            details.extend(found.into_iter().map(|(digest, image)| {
                json!({
                    "registryId": caller.account, "repositoryName": name, "imageDigest": digest, "imageTags": image.tags,
                    "imageSizeInBytes": image.size, "imagePushedAt": epoch(image.pushed), "imageManifestMediaType": image.media_type,
                })
            }));
        }
        Ok(json!({"imageDetails": details}))
    })
}

/// The manifests themselves, from the registry.
async fn batch_get(world: &World, caller: &Caller, wanted: &Images) -> Result<Value, AwsError> {
    let registry = world.registry()?;
    let name = &wanted.repository_name;
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for id in wanted.image_ids.iter().flatten() {
        let found = world.read(|state| {
            let repository = find(&state.repositories, caller, name)?;
            let image = repository.images.iter().find(|(digest, image)| id.means(digest, image));
            Ok(image.map(|(digest, image)| (digest.clone(), image.media_type.clone())))
        })?;
        let Some((digest, media_type)) = found else {
            failures.push(json!({"imageId": id.shown(), "failureCode": "ImageNotFound", "failureReason": "Requested image not found"}));
            continue;
        };
        let manifest = world.fleet.manifest(&registry, name, &digest, &media_type).await?;
        let mut shown = id.shown();
        shown["imageDigest"] = json!(digest);
        images.push(json!({
            "registryId": caller.account, "repositoryName": name, "imageId": shown,
            "imageManifest": manifest, "imageManifestMediaType": media_type,
        }));
    }
    Ok(json!({"images": images, "failures": failures}))
}

/// Gives the registry the manifest under another tag; what it reports then is the push.
async fn put_image(world: &World, caller: &Caller, put: Put) -> Result<Value, AwsError> {
    let registry = world.registry()?;
    let (name, tag) = (put.repository_name, put.image_tag);
    let wanted = ImageId { image_digest: None, image_tag: Some(tag.clone()) };
    let key = (caller.account.clone(), name.clone());
    let taken = world.read(|state| {
        let repository = find(&state.repositories, caller, &name)?;
        Ok::<_, AwsError>(repository.images.iter().any(|(digest, image)| wanted.means(digest, image)))
    })?;
    if taken {
        let message = format!("Image with tag '{tag}' already exists in the repository with name '{name}'");
        return Err(AwsError::new("ImageAlreadyExistsException", message));
    }
    let media_type = put
        .image_manifest_media_type
        .unwrap_or_else(|| "application/vnd.docker.distribution.manifest.v2+json".to_owned());
    world.fleet.put_manifest(&registry, &name, &tag, &media_type, put.image_manifest).await?;
    let digest = world
        .until(|state| {
            let images = &state.repositories.get(&key)?.images;
            images.iter().find(|(digest, image)| wanted.means(digest, image)).map(|(digest, _)| digest.clone())
        })
        .await;
    Ok(json!({"image": {
        "registryId": caller.account, "repositoryName": name, "imageId": {"imageDigest": digest, "imageTag": tag},
        "imageManifestMediaType": media_type,
    }}))
}

fn find<'a>(repositories: &'a Repositories, caller: &Caller, name: &str) -> Result<&'a Repository, AwsError> {
    repositories.get(&(caller.account.clone(), name.to_owned())).ok_or_else(|| {
        let message =
            format!("The repository with name '{name}' does not exist in the registry with id '{}'", caller.account);
        AwsError::new("RepositoryNotFoundException", message)
    })
}

/// Takes a rule for what a repository keeps. Nothing here grows old enough for it to matter.
fn put_lifecycle_policy(world: &World, caller: &Caller, wanted: PutLifecyclePolicy) -> Result<Value, AwsError> {
    let PutLifecyclePolicy { repository_name: name, lifecycle_policy_text: text } = wanted;
    world.read(|state| find(&state.repositories, caller, &name).map(drop))?;
    if serde_json::from_str::<Value>(&text).is_err() {
        return Err(AwsError::new(
            "InvalidParameterException",
            "Invalid parameter at 'lifecyclePolicyText'".to_owned(),
        ));
    }
    Ok(json!({ "registryId": caller.account, "repositoryName": name, "lifecyclePolicyText": text }))
}

fn shown(account: &str, name: &str, repository: &Repository, host: &str) -> Value {
    json!({
        "repositoryArn": format!("arn:aws:ecr:{REGION}:{account}:repository/{name}"), "registryId": account, "repositoryName": name,
        "repositoryUri": format!("{host}/{name}"), "createdAt": epoch(repository.created),
        "imageTagMutability": if repository.immutable { "IMMUTABLE" } else { "MUTABLE" },
    })
}
