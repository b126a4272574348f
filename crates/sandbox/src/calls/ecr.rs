//! The calls of ECR.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Utc};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{input, unknown};
use crate::accounts::{AwsCaller, REGION};
use crate::aws::ecr::{Image, StoredRepositories, StoredRepository};
use crate::aws::epoch;
use crate::aws::error::AwsError;
use crate::simulation::Simulation;

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
struct GetLifecyclePolicy {
    repository_name: String,
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

pub async fn call(
    simulation: &Simulation,
    caller: &AwsCaller,
    operation: &str,
    body: &[u8],
) -> Result<Value, AwsError> {
    match operation {
        "CreateRepository" => create(simulation, caller, input(body)?),
        "PutLifecyclePolicy" => put_lifecycle_policy(simulation, caller, input(body)?),
        "GetLifecyclePolicy" => get_lifecycle_policy(simulation, caller, &input(body)?),
        "DescribeRepositories" => describe(simulation, caller, &input(body)?),
        "ListTagsForResource" => list_tags(simulation, caller, &input(body)?),
        "GetAuthorizationToken" => authorization(simulation),
        "DescribeImages" => describe_images(simulation, caller, &input(body)?),
        "BatchGetImage" => batch_get(simulation, caller, &input(body)?).await,
        "PutImage" => put_image(simulation, caller, input(body)?).await,
        other => Err(unknown("ecr", other)),
    }
}

fn create(simulation: &Simulation, caller: &AwsCaller, new: Create) -> Result<Value, AwsError> {
    let name = new.repository_name;
    // ECR's pattern: lower-case parts joined by one of . _ - or /.
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = (2..=256).contains(&name.len())
        && name.split(['/', '.', '_', '-']).all(|part| !part.is_empty() && part.bytes().all(edge));
    if !fits {
        let message = format!(
            "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression' ({name})"
        );
        return Err(AwsError::new("InvalidParameterException", message));
    }
    // AWS requires this permission only for repositories created with tags.
    if !new.tags.is_empty() && simulation.faults.get().calls.get("ecr:TagResource").is_some_and(|fault| fault.deny) {
        let message = format!("User: {} is not authorized to perform: ecr:TagResource", caller.arn);
        return Err(AwsError::new("AccessDeniedException", message));
    }
    let host = simulation.registry()?.host_port;
    simulation.change(|state| {
        let key = (caller.account.clone(), name.clone());
        if state.repositories.contains_key(&key) {
            let message = format!(
                "The repository with name '{name}' already exists in the registry with id '{}'",
                caller.account
            );
            return Err(AwsError::new("RepositoryAlreadyExistsException", message));
        }
        let immutable = new.image_tag_mutability.as_deref() == Some("IMMUTABLE");
        let (tags, images) = (new.tags, BTreeMap::new());
        let repository = StoredRepository { created: Utc::now(), tags, immutable, images, lifecycle_policy: None };
        let answer = json!({"repository": shown(&caller.account, &name, &repository, &host)});
        state.repositories.insert(key, repository);
        state.effects.of(&name).created += 1;
        Ok(answer)
    })
}

fn describe(simulation: &Simulation, caller: &AwsCaller, wanted: &Describe) -> Result<Value, AwsError> {
    let host = simulation.registry()?.host_port;
    simulation.read(|state| {
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

fn list_tags(simulation: &Simulation, caller: &AwsCaller, wanted: &ListTags) -> Result<Value, AwsError> {
    let name = wanted.resource_arn.split_once(":repository/").map_or("", |(_, name)| name);
    simulation.read(|state| find(&state.repositories, caller, name).map(|found| json!({"tags": found.tags})))
}

fn authorization(simulation: &Simulation) -> Result<Value, AwsError> {
    let registry = simulation.registry()?;
    let token = STANDARD.encode(format!("{}:{}", registry.username, registry.password.expose_secret()));
    Ok(json!({"authorizationData": [{
        "authorizationToken": token,
        "expiresAt": epoch(Utc::now() + TimeDelta::hours(12)),
        "proxyEndpoint": format!("http://{}", registry.host_port),
    }]}))
}

fn describe_images(simulation: &Simulation, caller: &AwsCaller, wanted: &Images) -> Result<Value, AwsError> {
    simulation.read(|state| {
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

/// Returns the manifests, read from the registry.
async fn batch_get(simulation: &Simulation, caller: &AwsCaller, wanted: &Images) -> Result<Value, AwsError> {
    let registry = simulation.registry()?;
    let name = &wanted.repository_name;
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    let mut failure = simulation.faults.partial("ecr:BatchGetImage");
    for id in wanted.image_ids.iter().flatten() {
        if let Some(failure) = failure.take() {
            failures
                .push(json!({"imageId": id.shown(), "failureCode": failure.code, "failureReason": failure.message}));
            continue;
        }
        let found = simulation.read(|state| {
            let repository = find(&state.repositories, caller, name)?;
            let image = repository.images.iter().find(|(digest, image)| id.means(digest, image));
            Ok(image.map(|(digest, image)| (digest.clone(), image.media_type.clone())))
        })?;
        let Some((digest, media_type)) = found else {
            failures.push(json!({"imageId": id.shown(), "failureCode": "ImageNotFound", "failureReason": "Requested image not found"}));
            continue;
        };
        let manifest = simulation.fleet.manifest(&registry, name, &digest, &media_type).await?;
        let mut shown = id.shown();
        shown["imageDigest"] = json!(digest);
        images.push(json!({
            "registryId": caller.account, "repositoryName": name, "imageId": shown,
            "imageManifest": manifest, "imageManifestMediaType": media_type,
        }));
    }
    Ok(json!({"images": images, "failures": failures}))
}

/// Puts the manifest under another tag in the registry, whose notification is then the push.
async fn put_image(simulation: &Simulation, caller: &AwsCaller, put: Put) -> Result<Value, AwsError> {
    let registry = simulation.registry()?;
    let (name, tag) = (put.repository_name, put.image_tag);
    let wanted = ImageId { image_digest: None, image_tag: Some(tag.clone()) };
    let key = (caller.account.clone(), name.clone());
    let taken = simulation.read(|state| {
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
    simulation.fleet.put_manifest(&registry, &name, &tag, &media_type, put.image_manifest).await?;
    let digest = simulation
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

fn find<'a>(
    repositories: &'a StoredRepositories,
    caller: &AwsCaller,
    name: &str,
) -> Result<&'a StoredRepository, AwsError> {
    repositories.get(&(caller.account.clone(), name.to_owned())).ok_or_else(|| {
        let message =
            format!("The repository with name '{name}' does not exist in the registry with id '{}'", caller.account);
        AwsError::new("RepositoryNotFoundException", message)
    })
}

/// Accepts a lifecycle policy without applying it: no image gets old enough here.
fn put_lifecycle_policy(
    simulation: &Simulation,
    caller: &AwsCaller,
    wanted: PutLifecyclePolicy,
) -> Result<Value, AwsError> {
    let PutLifecyclePolicy { repository_name: name, lifecycle_policy_text: text } = wanted;
    simulation.read(|state| find(&state.repositories, caller, &name).map(drop))?;
    if serde_json::from_str::<Value>(&text).is_err() {
        return Err(AwsError::new(
            "InvalidParameterException",
            "Invalid parameter at 'lifecyclePolicyText'".to_owned(),
        ));
    }
    simulation.change(|state| {
        let stored = state.repositories.get_mut(&(caller.account.clone(), name.clone()));
        if let Some(repository) = stored {
            repository.lifecycle_policy = Some(text.clone());
        }
    });
    Ok(json!({ "registryId": caller.account, "repositoryName": name, "lifecyclePolicyText": text }))
}

fn get_lifecycle_policy(
    simulation: &Simulation,
    caller: &AwsCaller,
    wanted: &GetLifecyclePolicy,
) -> Result<Value, AwsError> {
    let name = &wanted.repository_name;
    let policy = simulation
        .read(|state| find(&state.repositories, caller, name).map(|repository| repository.lifecycle_policy.clone()))?;
    let text = policy.ok_or_else(|| {
        let message = format!("Lifecycle policy does not exist for the repository with name '{name}'");
        AwsError::new("LifecyclePolicyNotFoundException", message)
    })?;
    Ok(json!({ "registryId": caller.account, "repositoryName": name, "lifecyclePolicyText": text }))
}

fn shown(account: &str, name: &str, repository: &StoredRepository, host: &str) -> Value {
    json!({
        "repositoryArn": format!("arn:aws:ecr:{REGION}:{account}:repository/{name}"), "registryId": account, "repositoryName": name,
        "repositoryUri": format!("{host}/{name}"), "createdAt": epoch(repository.created),
        "imageTagMutability": if repository.immutable { "IMMUTABLE" } else { "MUTABLE" },
    })
}
