//! ECS: service deployments that shift traffic by themselves (blue/green, linear and canary).

use aws_config::SdkConfig;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{DeploymentLifecycleHookAction, StopServiceDeploymentStopType};

use super::client;
use super::ecs_info::{ServiceDeployment, read};
use super::error::{failed_for_user, incomplete};
use super::observer::CallObserver;
use crate::clients::{ClientError, ErrorKind};

/// Most ARNs that DescribeServiceDeployments and DescribeServiceRevisions take.
pub const MAX_SERVICE_DEPLOYMENTS: usize = 20;

/// Image of a container in a service revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionImage {
    /// Digest that ECS resolved the image to; none where it did not.
    pub digest: Option<String>,
    /// Image as the task definition names it.
    pub image: String,
}

/// A service revision with the images of its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRevision {
    /// ARN of the revision.
    pub arn: String,
    /// Images of its containers.
    pub images: Vec<RevisionImage>,
}

impl ServiceRevision {
    /// Reports whether a container runs the image with `digest`, or the one that is named `uri`.
    pub fn runs(&self, digest: &str, uri: Option<&str>) -> bool {
        self.images.iter().any(|image| match &image.digest {
            Some(resolved) => resolved == digest,
            None => image.image.ends_with(&format!("@{digest}")) || uri == Some(image.image.as_str()),
        })
    }
}

/// ECS client for a user's account.
#[derive(Clone)]
pub struct Ecs {
    client: Client,
}

impl Ecs {
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver) -> Self {
        Self { client: client!(aws_sdk_ecs, config, observe) }
    }

    /// Fetches the state of one service deployment.
    pub async fn service_deployment(&self, arn: &str) -> Result<ServiceDeployment, ClientError> {
        const CALL: &str = "ecs:DescribeServiceDeployments";
        let found = self.service_deployments(&[arn.to_owned()]).await?;
        let found = found.into_iter().find(|deployment| deployment.arn == arn);
        found.ok_or_else(|| ClientError::new(ErrorKind::NotFound, CALL, format!("{arn} does not exist")))
    }

    /// Fetches the states of up to [`MAX_SERVICE_DEPLOYMENTS`] service deployments. Unknown ARNs are left out.
    pub async fn service_deployments(&self, arns: &[String]) -> Result<Vec<ServiceDeployment>, ClientError> {
        const CALL: &str = "ecs:DescribeServiceDeployments";
        let request = self.client.describe_service_deployments().set_service_deployment_arns(Some(arns.to_vec()));
        let answer = request.send().await.map_err(|error| failed_for_user(CALL, &error))?;
        // AWS reports what it cannot show beside what it can: only a missing deployment says that there is none.
        let unread = answer.failures().iter().find(|failure| failure.reason() != Some("MISSING"));
        if let Some(failure) = unread {
            let reason = failure.reason().or(failure.detail()).unwrap_or("no reason");
            return Err(ClientError::new(ErrorKind::Unavailable, CALL, reason));
        }
        let found = answer.service_deployments.unwrap_or_default();
        found.iter().map(|deployment| read(deployment).ok_or_else(|| incomplete(CALL, "status"))).collect()
    }

    /// Fetches up to [`MAX_SERVICE_DEPLOYMENTS`] service revisions. Unknown ones are left out.
    pub async fn revisions(&self, arns: &[String]) -> Result<Vec<ServiceRevision>, ClientError> {
        let request = self.client.describe_service_revisions().set_service_revision_arns(Some(arns.to_vec()));
        let answer = request.send().await.map_err(|error| failed_for_user("ecs:DescribeServiceRevisions", &error))?;
        let found = answer.service_revisions.unwrap_or_default().into_iter();
        Ok(found
            .filter_map(|revision| {
                let images = revision.container_images.unwrap_or_default().into_iter();
                let images = images.map(|container| RevisionImage {
                    digest: container.image_digest.filter(|digest| !digest.is_empty()),
                    image: container.image.unwrap_or_default(),
                });
                Some(ServiceRevision { arn: revision.service_revision_arn?, images: images.collect() })
            })
            .collect())
    }

    /// Ends the wait of a hook: the deployment proceeds, or rolls back. [`ErrorKind::Conflict`] if the hook does not wait (any more).
    pub async fn end_pause(&self, arn: &str, hook: &str, roll_back: bool) -> Result<(), ClientError> {
        let action =
            if roll_back { DeploymentLifecycleHookAction::Rollback } else { DeploymentLifecycleHookAction::Continue };
        let request =
            self.client.continue_service_deployment().service_deployment_arn(arn).hook_id(hook).action(action);
        let sent = request.send().await;
        sent.map(drop).map_err(|error| changed(failed_for_user("ecs:ContinueServiceDeployment", &error)))
    }

    /// Stops a deployment in progress, and sends its traffic back. The rollback may still be pending on return.
    pub async fn roll_back(&self, arn: &str) -> Result<(), ClientError> {
        let request = self.client.stop_service_deployment().service_deployment_arn(arn);
        let sent = request.stop_type(StopServiceDeploymentStopType::Rollback).send().await;
        sent.map(drop).map_err(|error| changed(failed_for_user("ecs:StopServiceDeployment", &error)))
    }
}

/// ECS has no special code for a hook that does not wait: it refuses the parameter. The next look at the deployment decides.
fn changed(error: ClientError) -> ClientError {
    if error.kind == ErrorKind::Invalid { ClientError { kind: ErrorKind::Conflict, ..error } } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_runs_image_by_digest_or_name() {
        let revision = |digest: Option<&str>, image: &str| ServiceRevision {
            arn: "r".to_owned(),
            images: vec![
                RevisionImage { digest: Some("sha256:sidecar".to_owned()), image: "proxy:1".to_owned() },
                RevisionImage { digest: digest.map(str::to_owned), image: image.to_owned() },
            ],
        };
        assert!(revision(Some("sha256:a"), "shop:dep_1").runs("sha256:a", None));
        assert!(!revision(Some("sha256:b"), "shop:dep_1").runs("sha256:a", Some("shop:dep_1")), "the tag was moved");
        assert!(revision(None, "shop@sha256:a").runs("sha256:a", None));
        assert!(revision(None, "shop:dep_1").runs("sha256:a", Some("shop:dep_1")));
        assert!(!revision(None, "shop:dep_2").runs("sha256:a", Some("shop:dep_1")));
        assert!(!ServiceRevision { arn: "r".to_owned(), images: Vec::new() }.runs("sha256:a", None));
    }
}
