//! Stage 4: finds ECS's service deployment by the digest of the image, where the pipeline's outputs name cluster and service, but no rollout.
//!
//! Only deployments that ECS created after the start of the followed execution count: a digest may be that of an earlier deployment or attempt, too. The
//! search only reads; what it found is committed before anything is done with it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::follow_execution::{approval, output_invalid};
use super::rollout::about;
use super::{CheckRollout, RunStep, StepContext, StepError, StepOutcome, is_default};
use crate::clients::aws::{ListedDeployment, MAX_SERVICE_DEPLOYMENTS};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::ecs_service::ServiceName;
use crate::domain::failure::ErrorCode;
use crate::domain::message::{Message, message};
use crate::domain::reason::Reason;
use crate::domain::rollout::RolloutId;
use crate::domain::service_revision::{Candidate, Search, ServiceRevision, find};

/// State of the search for the rollout.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct FindRollout {
    /// What the history says about the check, as a clause, if the execution succeeded without an approval; none if the pipeline asked for one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seen: Option<String>,
    /// Executions of this image that were followed before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replaced: u8,
}

impl RunStep for FindRollout {
    const NAME: &'static str = "find_rollout";
    const STAGE: u8 = 4;
    const TIMED_OUT: ErrorCode = ErrorCode::ExecutionOutputInvalid;

    fn replaced(&self) -> Option<u8> {
        Some(self.replaced)
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        match self.look(cx).await {
            Ok(Ok((arn, older))) => Ok(self.found(cx, arn, &older)),
            // The deployment may be on its way, and ECS resolves a tag when the first task starts.
            Ok(Err(Unfound { finding, later: true })) => {
                let waiting = message!("wait.rollout_not_visible");
                tracing::debug!(%finding, "rollout not found yet");
                Ok(StepOutcome::poll(self.clone(), cx.services.settings.poll_interval, waiting))
            }
            Ok(Err(Unfound { finding, .. })) => Ok(output_invalid(self.reason(finding))),
            Err(error) => Err(StepError::from_client(ErrorCode::ExecutionOutputInvalid)(error)),
        }
    }

    async fn timeout_cause(&self, cx: &StepContext<'_>) -> Option<Reason> {
        let Ok(Err(unfound)) = self.look(cx).await else { return None };
        Some(self.reason(unfound.finding).into())
    }
}

/// Reason why no rollout was found.
pub(super) struct Unfound {
    finding: Message,
    /// The next look may find it.
    later: bool,
}

/// ARN of the rollout, and of older ones of the same image.
type Found = (String, Vec<String>);

impl FindRollout {
    /// Reports whether the outputs name what the search needs.
    pub(super) fn is_possible(known: &Facts) -> bool {
        known.cluster_name.is_some() && known.service_name.is_some() && known.image_digest.is_some()
    }

    async fn look(&self, cx: &StepContext<'_>) -> Result<Result<Found, Unfound>, ClientError> {
        look(cx, &cx.deployment.facts).await
    }

    fn found(&self, cx: &StepContext<'_>, arn: String, older: &[String]) -> StepOutcome {
        let rollout = RolloutId::EcsNative(arn.clone());
        tracing::info!(%arn, ?older, "rollout found by the digest of the image");
        let mut event = about(EventCode::RolloutFound, &rollout);
        if !older.is_empty() {
            event = event.with("older", older);
        }
        let found = Facts { service_deployment_arn: Some(arn), ..Facts::default() };
        let mut facts = cx.deployment.facts.clone();
        facts.merge(found.clone());
        let replaced = self.replaced;
        let mut outcome = match self.seen.clone() {
            None => approval(&facts, &cx.deployment.id, replaced, None),
            Some(seen) => StepOutcome::next(CheckRollout { rollout, seen, refused: None, replaced }),
        };
        outcome.events.insert(0, event);
        outcome.with_facts(found)
    }

    fn reason(&self, finding: Message) -> Message {
        let seen = self.seen.as_ref().map(|seen| format!("; {seen}")).unwrap_or_default();
        message!("reason.no_rollout_by_digest", finding, seen)
    }
}

/// Looks once for the rollout that the followed execution began with the deployment's image.
pub(super) async fn look(cx: &StepContext<'_>, known: &Facts) -> Result<Result<Found, Unfound>, ClientError> {
    let no = |finding: Message, later: bool| Ok(Err(Unfound { finding, later }));
    let (cluster, service) = (known.cluster_name.as_deref(), known.service_name.as_deref());
    let (account, region) = (&cx.deployment.account_id, &cx.deployment.region);
    let name = ServiceName::read(cluster.unwrap_or_default(), service.unwrap_or_default(), account, region);
    let name = match name {
        Ok(name) => name,
        Err(refused) => return no(refused, false),
    };
    let candidates = match candidates(cx, &name, since(cx, known).await?).await {
        Ok(candidates) => candidates,
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid) => {
            let ServiceName { cluster, service } = name;
            return no(message!("reason.service_not_searchable", service, cluster, error = error.to_string()), false);
        }
        Err(error) => return Err(error),
    };
    let digest = known.image_digest.as_deref().unwrap_or_default();
    match find(&candidates, digest, known.image_uri.as_deref()) {
        Search::Found { arn, older } => Ok(Ok((arn, older))),
        Search::Undecided { newest, older } => no(message!("reason.deployments_undecided", newest, older), false),
        Search::WithoutDigest { revision, image } => {
            no(message!("reason.revision_without_digest", revision, image), true)
        }
        Search::Nothing => {
            let ServiceName { cluster, service } = name;
            no(message!("reason.no_deployment_of_image", service, cluster, digest), true)
        }
    }
}

/// Returns the start of the followed execution, by AWS's clock.
async fn since(cx: &StepContext<'_>, known: &Facts) -> Result<DateTime<Utc>, ClientError> {
    let started = cx.deployment.attempt_started_at;
    let Some(arn) = &known.execution_arn else { return Ok(started) };
    match cx.services.aws.controller().executions.describe(arn).await {
        Ok(execution) => Ok(execution.started_at),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(started),
        Err(error) => Err(error),
    }
}

async fn candidates(
    cx: &StepContext<'_>,
    name: &ServiceName,
    since: DateTime<Utc>,
) -> Result<Vec<Candidate>, ClientError> {
    let listed = cx.user.ecs.deployments_since(name, since).await?;
    let arns: Vec<String> = listed.iter().filter_map(|found| found.target_revision.clone()).collect();
    let mut revisions: Vec<ServiceRevision> = Vec::new();
    for some in arns.chunks(MAX_SERVICE_DEPLOYMENTS) {
        revisions.extend(cx.user.ecs.revisions(some).await?);
    }
    let candidate = |ListedDeployment { arn, target_revision, .. }: ListedDeployment| Candidate {
        revision: revisions.iter().find(|revision| Some(&revision.arn) == target_revision.as_ref()).cloned(),
        arn,
    };
    Ok(listed.into_iter().map(candidate).collect())
}
