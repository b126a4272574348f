//! ECR: repositories, images and the registry's password.

use super::client;
use super::observe::Observe;
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
    error::{failed, incomplete, unbuildable},
    utc,
};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::manifest::{ACCEPTED, Manifest};

/// A repository of the account's registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcrRepository {
    /// Its ARN.
    pub arn: String,
    /// What an image's name starts with: registry host and repository.
    pub uri: String,
    /// Its resource tags; none when the account's credentials may not read them.
    pub tags: Option<BTreeMap<String, String>>,
}

/// How to log in to the registry; a token is good for twelve hours.
#[derive(Clone, Debug)]
pub struct RegistryLogin {
    /// The user, `AWS` for ECR.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// The registry's URL.
    pub endpoint: String,
}

/// An image that the registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcrImage {
    /// Its manifest's digest, `sha256:…`.
    pub digest: String,
    /// When it was pushed, by the registry's clock.
    pub pushed_at: Option<DateTime<Utc>>,
}

/// The account's image registry.
#[derive(Clone)]
pub struct Ecr {
    client: Client,
}

impl Ecr {
    pub(super) fn new(config: &SdkConfig, observe: &Observe) -> Self {
        Self { client: client!(aws_sdk_ecr, config, observe) }
    }

    /// The repository of that name with its tags, if there is one. A denied `ecr:ListTagsForResource` is no error: the tags only add
    /// safety.
    pub async fn find_repository(&self, name: &str) -> Result<Option<EcrRepository>, ClientError> {
        const CALL: &str = "ecr:DescribeRepositories";
        const TAGS: &str = "ecr:ListTagsForResource";
        let answer = self.client.describe_repositories().repository_names(name).send().await;
        let Some(answer) = found(answer.map_err(|error| failed(CALL, &error)))? else { return Ok(None) };
        let Some(repository) = answer.repositories.unwrap_or_default().into_iter().next() else { return Ok(None) };
        let mut repository = described(CALL, repository)?;
        let tags = self.client.list_tags_for_resource().resource_arn(&repository.arn).send().await;
        let tags = match found(tags.map_err(|error| failed(TAGS, &error))) {
            Ok(Some(tags)) => tags,
            // Deleted between the two calls: as good as never seen.
            Ok(None) => return Ok(None),
            Err(error) if error.kind == ErrorKind::Denied => {
                tracing::warn!(repository = name, %error, "the repository's tags cannot be read: its owner is not checked");
                repository.tags = None;
                return Ok(Some(repository));
            }
            Err(error) => return Err(error),
        };
        repository.tags = Some(tags.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect());
        Ok(Some(repository))
    }

    /// Creates the repository; one that exists already is `Conflict`.
    pub async fn create_repository(&self, name: &str, tags: &[(&str, &str)]) -> Result<EcrRepository, ClientError> {
        const CALL: &str = "ecr:CreateRepository";
        let mut request = self.client.create_repository().repository_name(name);
        for (key, value) in tags {
            let tag = Tag::builder().key(*key).value(*value).build().map_err(|error| unbuildable(CALL, &error))?;
            request = request.tags(tag);
        }
        let answer = request.send().await.map_err(|error| failed(CALL, &error))?;
        let mut repository = described(CALL, answer.repository.ok_or_else(|| incomplete(CALL, "repository"))?)?;
        repository.tags = Some(tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
        Ok(repository)
    }

    /// Removes from `repository` what has had no tag for `days`: a lifecycle rule, which replaces any other of that repository.
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
        answer.map(drop).map_err(|error| failed(CALL, &error))
    }

    /// A fresh password for the registry.
    pub async fn login(&self) -> Result<RegistryLogin, ClientError> {
        const CALL: &str = "ecr:GetAuthorizationToken";
        let answer = self.client.get_authorization_token().send().await.map_err(|error| failed(CALL, &error))?;
        let data = answer.authorization_data.unwrap_or_default().into_iter().next();
        let data = data.ok_or_else(|| incomplete(CALL, "authorization data"))?;
        let token = data.authorization_token.ok_or_else(|| incomplete(CALL, "token"))?;
        let (username, password) = user_and_password(&token).ok_or_else(|| incomplete(CALL, "readable token"))?;
        let endpoint = data.proxy_endpoint.ok_or_else(|| incomplete(CALL, "registry endpoint"))?;
        Ok(RegistryLogin { username, password, endpoint })
    }

    /// The image with that tag, if the repository (or the registry) has it. The digest of an index is the index's own.
    ///
    /// Without the right `ecr:DescribeImages` the manifest is asked for instead (`ecr:BatchGetImage`), which does not say when it was pushed.
    pub async fn find_image(&self, repository: &str, tag: &str) -> Result<Option<EcrImage>, ClientError> {
        const CALL: &str = "ecr:DescribeImages";
        let image = ImageIdentifier::builder().image_tag(tag).build();
        let answer = self.client.describe_images().repository_name(repository).image_ids(image).send().await;
        let answer = match found(answer.map_err(|error| failed(CALL, &error))) {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(None),
            Err(denied) if denied.kind == ErrorKind::Denied => {
                tracing::debug!(repository, error = %denied, "asking for the image's manifest instead");
                return match self.read(repository, tagged(tag)).await {
                    Ok(found) => Ok(found.map(|found| EcrImage { digest: found.digest, pushed_at: None })),
                    // Either right would do: the first one is named.
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

    /// The manifest with that digest, if the repository has it.
    pub async fn manifest(&self, repository: &str, digest: &str) -> Result<Option<Manifest>, ClientError> {
        let found = self.read(repository, ImageIdentifier::builder().image_digest(digest).build()).await?;
        let manifest =
            |found: EcrManifest| Manifest { text: found.manifest, media_type: found.media_type.unwrap_or_default() };
        Ok(found.map(manifest))
    }

    /// Stores a manifest, of layers that the repository has, under `tag`. That the tag is taken is no error: see who has it.
    pub async fn put_manifest(&self, repository: &str, tag: &str, manifest: Manifest) -> Result<(), ClientError> {
        const CALL: &str = "ecr:PutImage";
        let put = self.client.put_image().repository_name(repository).image_tag(tag).image_manifest(manifest.text);
        match put.image_manifest_media_type(manifest.media_type).send().await.map_err(|error| failed(CALL, &error)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind == ErrorKind::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives the image with the tag `from` the tag `to` as well; an index keeps its digest. False when there is no such image. That it has
    /// the tag already is as good as having given it.
    pub async fn tag_image(&self, repository: &str, from: &str, to: &str) -> Result<bool, ClientError> {
        const PUT: &str = "ecr:PutImage";
        let Some(found) = self.read(repository, tagged(from)).await? else { return Ok(false) };
        let put = self.client.put_image().repository_name(repository).image_tag(to).image_manifest(found.manifest);
        let put = put.set_image_manifest_media_type(found.media_type);
        match put.send().await.map_err(|error| failed(PUT, &error)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::Conflict => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The manifest, or index, that `wanted` names.
    async fn read(&self, repository: &str, wanted: ImageIdentifier) -> Result<Option<EcrManifest>, ClientError> {
        const READ: &str = "ecr:BatchGetImage";
        let request = self.client.batch_get_image().repository_name(repository).image_ids(wanted);
        // Or ECR would convert some into a manifest of schema 1.
        let request = request.set_accepted_media_types(Some(ACCEPTED.map(str::to_owned).to_vec()));
        let answer = request.send().await;
        let Some(answer) = found(answer.map_err(|error| failed(READ, &error)))? else { return Ok(None) };
        let Some(image) = answer.images.unwrap_or_default().into_iter().next() else { return Ok(None) };
        let digest = image.image_id.and_then(|id| id.image_digest).ok_or_else(|| incomplete(READ, "digest"))?;
        let manifest = image.image_manifest.ok_or_else(|| incomplete(READ, "manifest"))?;
        Ok(Some(EcrManifest { digest, manifest, media_type: image.image_manifest_media_type }))
    }
}

fn tagged(tag: &str) -> ImageIdentifier {
    ImageIdentifier::builder().image_tag(tag).build()
}

/// A manifest as the registry keeps it.
struct EcrManifest {
    digest: String,
    manifest: String,
    media_type: Option<String>,
}

/// A look-up that found nothing is an answer, not an error.
fn found<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn described(call: &'static str, repository: Repository) -> Result<EcrRepository, ClientError> {
    Ok(EcrRepository {
        arn: repository.repository_arn.ok_or_else(|| incomplete(call, "repository ARN"))?,
        uri: repository.repository_uri.ok_or_else(|| incomplete(call, "repository URI"))?,
        tags: Some(BTreeMap::new()),
    })
}

/// The token is Base64 of `user:password`; a password may hold colons.
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
    fn a_token_is_taken_apart_at_its_first_colon() {
        let (user, password) = user_and_password(&STANDARD.encode("AWS:a:b")).unwrap();
        assert_eq!((user.as_str(), password.expose_secret()), ("AWS", "a:b"));
    }

    #[test]
    fn a_token_that_is_none_is_refused() {
        for token in ["", "%%%", &STANDARD.encode("AWS"), &STANDARD.encode([0xff, b':'])] {
            assert!(user_and_password(token).is_none(), "{token}");
        }
    }
}
