//! ECR: repositories, images and registry logins.

use super::client;
use super::observer::CallObserver;
use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_ecr::{
    Client,
    types::{ImageIdentifier, Repository, Tag},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::{
    error::{build_error, failed_for_user, incomplete},
    utc,
};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::manifest::{ACCEPTED, Manifest};

/// An ECR repository of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcrRepository {
    /// ARN of the repository.
    pub arn: String,
    /// Image name prefix: registry host and repository name.
    pub uri: String,
    /// Resource tags; `None` if the account's credentials may not read them.
    pub tags: Option<BTreeMap<String, String>>,
}

/// Registry login; the token is valid for twelve hours.
#[derive(Clone, Debug)]
pub struct RegistryLogin {
    /// User name, `AWS` for ECR.
    pub username: String,
    /// Authorization token that serves as password.
    pub password: SecretString,
    /// URL of the registry.
    pub endpoint: String,
}

/// An image in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcrImage {
    /// Digest of the manifest, `sha256:…`.
    pub digest: String,
    /// Push time by the registry's clock.
    pub pushed_at: Option<DateTime<Utc>>,
}

/// Client for the account's image registry.
#[derive(Clone)]
pub struct Ecr {
    client: Client,
}

impl Ecr {
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver) -> Self {
        Self { client: client!(aws_sdk_ecr, config, observe) }
    }

    /// Finds the repository `name` with its tags. A denied `ecr:ListTagsForResource` is not an error: the tags only add safety.
    pub async fn find_repository(&self, name: &str) -> Result<Option<EcrRepository>, ClientError> {
        const CALL: &str = "ecr:DescribeRepositories";
        const TAGS: &str = "ecr:ListTagsForResource";
        let answer = self.client.describe_repositories().repository_names(name).send().await;
        let Some(answer) = none_if_not_found(answer.map_err(|error| failed_for_user(CALL, &error)))? else {
            return Ok(None);
        };
        let Some(repository) = answer.repositories.unwrap_or_default().into_iter().next() else { return Ok(None) };
        let mut repository = repository_from(CALL, repository)?;
        let tags = self.client.list_tags_for_resource().resource_arn(&repository.arn).send().await;
        let tags = match none_if_not_found(tags.map_err(|error| failed_for_user(TAGS, &error))) {
            Ok(Some(tags)) => tags,
            // Deleted between the two calls: the same as not found.
            Ok(None) => return Ok(None),
            Err(error) if error.kind == ErrorKind::Denied => {
                tracing::warn!(repository = name, %error, "repository tags not readable, owner not checked");
                repository.tags = None;
                return Ok(Some(repository));
            }
            Err(error) => return Err(error),
        };
        repository.tags = Some(tags.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect());
        Ok(Some(repository))
    }

    /// Creates the repository; fails with `Conflict` if it exists already.
    pub async fn create_repository(&self, name: &str, tags: &[(&str, &str)]) -> Result<EcrRepository, ClientError> {
        const CALL: &str = "ecr:CreateRepository";
        let mut request = self.client.create_repository().repository_name(name);
        for (key, value) in tags {
            let tag = Tag::builder().key(*key).value(*value).build().map_err(|error| build_error(CALL, &error))?;
            request = request.tags(tag);
        }
        let answer = request.send().await.map_err(|error| failed_for_user(CALL, &error))?;
        let mut repository = repository_from(CALL, answer.repository.ok_or_else(|| incomplete(CALL, "repository"))?)?;
        repository.tags = Some(tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
        Ok(repository)
    }

    /// Sets a lifecycle rule on `repository` that removes images untagged for `days`. It replaces any other rule of that repository.
    pub async fn expire_untagged(&self, repository: &str, days: u32) -> Result<(), ClientError> {
        const CALL: &str = "ecr:PutLifecyclePolicy";
        let rule = serde_json::json!({ "rules": [{
            "rulePriority": 1,
            "description": "layers that no build reads any more",
            "selection": {
                "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days,
            },
            "action": { "type": "expire" },
        }] });
        let request = self.client.put_lifecycle_policy().repository_name(repository);
        let answer = request.lifecycle_policy_text(rule.to_string()).send().await;
        answer.map(drop).map_err(|error| failed_for_user(CALL, &error))
    }

    /// Fetches the lifecycle policy of `repository`, as JSON; `None` if it has none, or does not exist.
    pub async fn lifecycle_policy(&self, repository: &str) -> Result<Option<String>, ClientError> {
        let answer = self.client.get_lifecycle_policy().repository_name(repository).send().await;
        let answer = none_if_not_found(answer.map_err(|error| failed_for_user("ecr:GetLifecyclePolicy", &error)))?;
        Ok(answer.and_then(|answer| answer.lifecycle_policy_text))
    }

    /// Requests a new login for the registry.
    pub async fn login(&self) -> Result<RegistryLogin, ClientError> {
        const CALL: &str = "ecr:GetAuthorizationToken";
        let answer =
            self.client.get_authorization_token().send().await.map_err(|error| failed_for_user(CALL, &error))?;
        let data = answer.authorization_data.unwrap_or_default().into_iter().next();
        let data = data.ok_or_else(|| incomplete(CALL, "authorization data"))?;
        let token = data.authorization_token.ok_or_else(|| incomplete(CALL, "token"))?;
        let (username, password) = user_and_password(&token).ok_or_else(|| incomplete(CALL, "readable token"))?;
        let endpoint = data.proxy_endpoint.ok_or_else(|| incomplete(CALL, "registry endpoint"))?;
        Ok(RegistryLogin { username, password, endpoint })
    }

    /// Finds the image with that tag; `None` if the repository or the image does not exist. The digest of an index is the digest of the index itself.
    ///
    /// Without the permission `ecr:DescribeImages` the manifest is read instead (`ecr:BatchGetImage`), and the push time is unknown.
    pub async fn find_image(&self, repository: &str, tag: &str) -> Result<Option<EcrImage>, ClientError> {
        const CALL: &str = "ecr:DescribeImages";
        let image = ImageIdentifier::builder().image_tag(tag).build();
        let answer = self.client.describe_images().repository_name(repository).image_ids(image).send().await;
        let answer = match none_if_not_found(answer.map_err(|error| failed_for_user(CALL, &error))) {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(None),
            Err(denied) if denied.kind == ErrorKind::Denied => {
                tracing::debug!(repository, error = %denied, "image not describable, reading its manifest instead");
                return match self.read(repository, image_by_tag(tag)).await {
                    Ok(found) => Ok(found.map(|found| EcrImage { digest: found.digest, pushed_at: None })),
                    // Either permission would suffice; the error names the first.
                    Err(error) if error.kind == ErrorKind::Denied => Err(denied),
                    Err(error) => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        let Some(image) = answer.image_details.unwrap_or_default().into_iter().next() else { return Ok(None) };
        let digest = image.image_digest.ok_or_else(|| incomplete(CALL, "digest"))?;
        Ok(Some(EcrImage { digest, pushed_at: image.image_pushed_at.as_ref().and_then(utc) }))
    }

    /// Reads the manifest with that digest; `None` if the repository does not have it.
    pub async fn manifest(&self, repository: &str, digest: &str) -> Result<Option<Manifest>, ClientError> {
        let found = self.read(repository, ImageIdentifier::builder().image_digest(digest).build()).await?;
        let manifest =
            |found: EcrManifest| Manifest { text: found.manifest, media_type: found.media_type.unwrap_or_default() };
        Ok(found.map(manifest))
    }

    /// Stores a manifest under `tag`; its layers must be in the repository. A tag that is taken is not an error: the caller checks which image has
    /// it.
    pub async fn put_manifest(&self, repository: &str, tag: &str, manifest: Manifest) -> Result<(), ClientError> {
        const CALL: &str = "ecr:PutImage";
        let put = self.client.put_image().repository_name(repository).image_tag(tag).image_manifest(manifest.text);
        match put
            .image_manifest_media_type(manifest.media_type)
            .send()
            .await
            .map_err(|error| failed_for_user(CALL, &error))
        {
            Ok(_) => Ok(()),
            Err(error) if error.kind == ErrorKind::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Adds the tag `to` to the image tagged `from`; an index keeps its digest. Returns false if there is no such image. A tag that the image has
    /// already counts as success.
    pub async fn tag_image(&self, repository: &str, from: &str, to: &str) -> Result<bool, ClientError> {
        const PUT: &str = "ecr:PutImage";
        let Some(found) = self.read(repository, image_by_tag(from)).await? else { return Ok(false) };
        let put = self.client.put_image().repository_name(repository).image_tag(to).image_manifest(found.manifest);
        let put = put.set_image_manifest_media_type(found.media_type);
        match put.send().await.map_err(|error| failed_for_user(PUT, &error)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::Conflict => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Reads the manifest or index that `wanted` identifies.
    async fn read(&self, repository: &str, wanted: ImageIdentifier) -> Result<Option<EcrManifest>, ClientError> {
        const READ: &str = "ecr:BatchGetImage";
        let request = self.client.batch_get_image().repository_name(repository).image_ids(wanted);
        // Without the accepted types, ECR would convert some manifests to schema 1.
        let request = request.set_accepted_media_types(Some(ACCEPTED.map(str::to_owned).to_vec()));
        let answer = request.send().await;
        let Some(answer) = none_if_not_found(answer.map_err(|error| failed_for_user(READ, &error)))? else {
            return Ok(None);
        };
        let Some(image) = answer.images.unwrap_or_default().into_iter().next() else { return Ok(None) };
        let digest = image.image_id.and_then(|id| id.image_digest).ok_or_else(|| incomplete(READ, "digest"))?;
        let manifest = image.image_manifest.ok_or_else(|| incomplete(READ, "manifest"))?;
        Ok(Some(EcrManifest { digest, manifest, media_type: image.image_manifest_media_type }))
    }
}

fn image_by_tag(tag: &str) -> ImageIdentifier {
    ImageIdentifier::builder().image_tag(tag).build()
}

/// A manifest with its media type, as the registry stores it.
struct EcrManifest {
    digest: String,
    manifest: String,
    media_type: Option<String>,
}

/// Turns a not-found error of a look-up into `None`.
fn none_if_not_found<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn repository_from(call: &'static str, repository: Repository) -> Result<EcrRepository, ClientError> {
    Ok(EcrRepository {
        arn: repository.repository_arn.ok_or_else(|| incomplete(call, "repository ARN"))?,
        uri: repository.repository_uri.ok_or_else(|| incomplete(call, "repository URI"))?,
        tags: Some(BTreeMap::new()),
    })
}

/// Decodes the token, Base64 of `user:password`; a password may contain colons.
fn user_and_password(token: &str) -> Option<(String, SecretString)> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), SecretString::from(password)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn splits_token_at_first_colon() {
        let (user, password) = user_and_password(&STANDARD.encode("AWS:a:b")).unwrap();
        assert_eq!((user.as_str(), password.expose_secret()), ("AWS", "a:b"));
    }

    #[test]
    fn rejects_malformed_token() {
        for token in ["", "%%%", &STANDARD.encode("AWS"), &STANDARD.encode([0xff, b':'])] {
            assert!(user_and_password(token).is_none(), "{token}");
        }
    }
}
