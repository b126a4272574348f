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

/// A repository of the account's registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcrRepository {
    /// Its ARN.
    pub arn: String,
    /// What an image's name starts with: registry host and repository.
    pub uri: String,
    /// Its resource tags.
    pub tags: BTreeMap<String, String>,
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

    /// The repository of that name with its tags, if there is one.
    pub async fn find_repository(&self, name: &str) -> Result<Option<EcrRepository>, ClientError> {
        const CALL: &str = "ecr:DescribeRepositories";
        const TAGS: &str = "ecr:ListTagsForResource";
        let answer = self.client.describe_repositories().repository_names(name).send().await;
        let Some(answer) = found(answer.map_err(|error| failed(CALL, &error)))? else { return Ok(None) };
        let Some(repository) = answer.repositories.unwrap_or_default().into_iter().next() else { return Ok(None) };
        let mut repository = described(CALL, repository)?;
        let tags = self.client.list_tags_for_resource().resource_arn(&repository.arn).send().await;
        // Deleted between the two calls: as good as never seen.
        let Some(tags) = found(tags.map_err(|error| failed(TAGS, &error)))? else { return Ok(None) };
        repository.tags = tags.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect();
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
        repository.tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Ok(repository)
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

    /// The image with that tag, if the repository (or the registry) has it.
    pub async fn find_image(&self, repository: &str, tag: &str) -> Result<Option<EcrImage>, ClientError> {
        const CALL: &str = "ecr:DescribeImages";
        let image = ImageIdentifier::builder().image_tag(tag).build();
        let answer = self.client.describe_images().repository_name(repository).image_ids(image).send().await;
        let Some(answer) = found(answer.map_err(|error| failed(CALL, &error)))? else { return Ok(None) };
        let Some(image) = answer.image_details.unwrap_or_default().into_iter().next() else { return Ok(None) };
        let digest = image.image_digest.ok_or_else(|| incomplete(CALL, "digest"))?;
        Ok(Some(EcrImage { digest, pushed_at: image.image_pushed_at.as_ref().and_then(utc) }))
    }

    /// Gives the image with the tag `from` the tag `to` as well. False when there is no such image. That it has the tag already is
    /// as good as having given it.
    pub async fn tag_image(&self, repository: &str, from: &str, to: &str) -> Result<bool, ClientError> {
        const READ: &str = "ecr:BatchGetImage";
        const PUT: &str = "ecr:PutImage";
        let wanted = ImageIdentifier::builder().image_tag(from).build();
        let answer = self.client.batch_get_image().repository_name(repository).image_ids(wanted).send().await;
        let Some(answer) = found(answer.map_err(|error| failed(READ, &error)))? else { return Ok(false) };
        let Some(image) = answer.images.unwrap_or_default().into_iter().next() else { return Ok(false) };
        let manifest = image.image_manifest.ok_or_else(|| incomplete(READ, "manifest"))?;
        let put = self.client.put_image().repository_name(repository).image_tag(to).image_manifest(manifest);
        let put = put.set_image_manifest_media_type(image.image_manifest_media_type);
        match put.send().await.map_err(|error| failed(PUT, &error)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::Conflict => Ok(true),
            Err(error) => Err(error),
        }
    }
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
        tags: BTreeMap::new(),
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
