//! ECS: service deployments that shift traffic by themselves (blue/green, linear and canary).

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{CreatedAt, DeploymentLifecycleHookAction, StopServiceDeploymentStopType};
use chrono::{DateTime, Utc};

use super::ecs_info::{ServiceDeployment, read, revision};
use super::error::{failed_for_user, incomplete};
use super::observer::CallObserver;
use super::shared_looks::SharedLooks;
use super::{client, utc};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::ecs_service::ServiceName;
use crate::domain::service_revision::ServiceRevision;

/// Most ARNs that DescribeServiceDeployments and DescribeServiceRevisions take.
pub const MAX_SERVICE_DEPLOYMENTS: usize = 20;

/// Service deployments of one page of a list, the most that ECS accepts.
const PAGE: i32 = 100;

/// Pages that are read of one list.
const MAX_PAGES: usize = 3;

/// A service deployment in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDeployment {
    /// ARN of the deployment.
    pub arn: String,
    /// Time of its creation, by AWS's clock; none if the response lacks it.
    pub created_at: Option<DateTime<Utc>>,
    /// ARN of the revision that it deploys.
    pub target_revision: Option<String>,
}

/// ECS client for a user's account.
#[derive(Clone)]
pub struct Ecs {
    client: Client,
    looks: Arc<SharedLooks>,
}

impl Ecs {
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver) -> Self {
        Self { client: client!(aws_sdk_ecs, config, observe), looks: Arc::default() }
    }

    /// Fetches the state of one service deployment.
    pub async fn service_deployment(&self, arn: &str) -> Result<ServiceDeployment, ClientError> {
        const CALL: &str = "ecs:DescribeServiceDeployments";
        let found = self.service_deployments(&[arn.to_owned()]).await?;
        let found = found.into_iter().find(|deployment| deployment.arn == arn);
        found.ok_or_else(|| ClientError::new(ErrorKind::NotFound, CALL, format!("{arn} does not exist")))
    }

    /// Fetches the state of one service deployment together with those that others wait for, some time later where many do.
    pub async fn service_deployment_shared(&self, arn: &str) -> Result<ServiceDeployment, ClientError> {
        const CALL: &str = "ecs:DescribeServiceDeployments";
        let describe = |arns: Vec<String>| async move { self.service_deployments(&arns).await };
        let found = self.looks.look(arn, describe).await?;
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
        Ok(answer.service_revisions.unwrap_or_default().into_iter().filter_map(revision).collect())
    }

    /// Lists the deployments of a service that were created after `since`, the newest first.
    pub async fn deployments_since(
        &self,
        name: &ServiceName,
        since: DateTime<Utc>,
    ) -> Result<Vec<ListedDeployment>, ClientError> {
        const CALL: &str = "ecs:ListServiceDeployments";
        let since = aws_smithy_types::DateTime::from_millis(since.timestamp_millis());
        let created = CreatedAt::builder().after(since).build();
        let (mut listed, mut token) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let request = self.client.list_service_deployments().cluster(&name.cluster).service(&name.service);
            let request = request.created_at(created.clone()).max_results(PAGE).set_next_token(token);
            let answer = request.send().await.map_err(|error| failed_for_user(CALL, &error))?;
            listed.extend(answer.service_deployments.unwrap_or_default().into_iter().filter_map(|found| {
                Some(ListedDeployment {
                    arn: found.service_deployment_arn?,
                    created_at: found.created_at.as_ref().and_then(utc),
                    target_revision: found.target_service_revision_arn,
                })
            }));
            token = answer.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                listed.sort_by_key(|found| std::cmp::Reverse(found.created_at));
                return Ok(listed);
            }
        }
        let most = listed.len();
        let ServiceName { cluster, service } = name;
        let reason = format!("service {service} of cluster {cluster} had more than {most} deployments since {since}");
        Err(ClientError::new(ErrorKind::Invalid, CALL, reason))
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
