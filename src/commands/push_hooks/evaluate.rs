//! The decision on a delivery, within the transaction that stores it.

use sqlx::types::Json;

use crate::commands::deploy::removed_connection::RemovedConnection;
use crate::commands::deploy::{self, DeployRefusal, Starter};
use crate::commands::schedules::target::{UnusableTarget, new_deployment};
use crate::db::deployments::NewDeployment;
use crate::db::push_hooks::deliveries::{self, PushDelivery};
use crate::db::push_hooks::held;
use crate::db::schedules::target::ScheduleTarget;
use crate::db::{DbError, PgConnection};
use crate::domain::deployment::Concurrency;
use crate::domain::permission::SignIn;
use crate::domain::principal::Caller;
use crate::domain::push_hook::PushRule;
use crate::domain::push_hook::decision::{PushStart, decide};
use crate::domain::push_hook::reason::PushReason;
use crate::domain::source::{Revision, Source};

/// A decision, and what it did.
#[derive(Clone, Debug)]
pub(super) struct Evaluated {
    pub(super) reason: PushReason,
    /// Id of the new deployment.
    pub(super) deployment: Option<String>,
    /// Deployments that were asked to end in its favour.
    pub(super) superseded: Vec<String>,
}

impl From<PushReason> for Evaluated {
    fn from(reason: PushReason) -> Self {
        Self { reason, deployment: None, superseded: Vec::new() }
    }
}

/// Decides on a delivery by the rules of a push hook, and starts the deployment.
pub(super) async fn evaluate(
    tx: &mut PgConnection,
    (starter, sign_in): (Starter<'_>, &SignIn),
    (hook, rules, enabled): (&str, &[PushRule], bool),
    delivery: &PushDelivery,
) -> Result<Evaluated, DbError> {
    let start = match decide(rules, &delivery.event, &delivery.facts) {
        Ok(start) => start,
        Err(reason) => return Ok(reason.into()),
    };
    if !enabled {
        return Ok(PushReason::HookDisabled.into());
    }
    // GitHub may deliver pushes in another order: an older one must not supersede a newer one.
    if let Some(newer) = deliveries::newer_start(tx, hook, delivery).await? {
        return Ok(PushReason::Outdated(newer).into());
    }
    let held = held(tx, hook).await?;
    if let Some(ended) = sign_in.ended(&held) {
        return Ok(PushReason::PermissionEnded(held.subject, ended.code()).into());
    }
    let by = Caller::push_hook(hook, held.scope);
    let target = target(hook, &start, delivery);
    match new_deployment(tx, starter, target, &by).await? {
        Ok(new)
            if new.owner.eq_ignore_ascii_case(&start.rule.owner) && new.repo.eq_ignore_ascii_case(&start.rule.repo) =>
        {
            started(tx, new, &start, &by).await
        }
        // The connection of the rule is for another repository since: only a change of the row outside of Panda can do that.
        Ok(new) => Ok(PushReason::ConnectionNotFor(new.github_connection_id).into()),
        Err(UnusableTarget::Removed(id)) => Ok(PushReason::ConnectionRemoved(id).into()),
        Err(UnusableTarget::NotFor(id)) => Ok(PushReason::ConnectionNotFor(id).into()),
        Err(UnusableTarget::Name(rule)) => Ok(PushReason::NameUnsuitable(rule).into()),
    }
}

async fn started(
    tx: &mut PgConnection,
    mut new: NewDeployment,
    start: &PushStart<'_>,
    by: &Caller,
) -> Result<Evaluated, DbError> {
    let matched = if start.paths_known { PushReason::RuleMatched } else { PushReason::PathsUndecided };
    let mut reason = matched(start.number);
    let mut created = deploy::create(tx, &new, by).await?;
    if created == Err(DeployRefusal::NeedsApprover) {
        // An approver moves the traffic of the deployment before: a push must not stop that, and must not be lost either.
        new.concurrency = Concurrency::Queue;
        reason = PushReason::QueuedBehindSwitch(start.number);
        created = deploy::create(tx, &new, by).await?;
    }
    Ok(match created {
        Ok(created) => Evaluated { reason, deployment: Some(new.id), superseded: created.superseded },
        Err(DeployRefusal::TargetTaken(id)) => PushReason::TargetTaken(id).into(),
        Err(DeployRefusal::NameTaken { .. }) => PushReason::NameTaken(new.ecr_repository).into(),
        Err(DeployRefusal::Connection(RemovedConnection(id))) => PushReason::ConnectionRemoved(id).into(),
        Err(DeployRefusal::NeedsApprover) => {
            return Err(DbError::Corrupt(
                "a queued deployment supersedes none, and was refused nevertheless".to_owned(),
            ));
        }
    })
}

/// The deployment of the pushed commit with the options of the rule.
fn target(hook: &str, start: &PushStart<'_>, delivery: &PushDelivery) -> ScheduleTarget {
    let rule = start.rule;
    let ref_name = delivery.facts.push.as_ref().map(|push| push.ref_name.as_str()).unwrap_or_default();
    ScheduleTarget {
        id: hook.to_owned(),
        github_connection_id: rule.github_connection_id.clone(),
        aws_connection_id: rule.aws_connection_id.clone(),
        // The commit, not the branch: it may have moved until the source is fetched.
        branch: Source::Revision(Revision::Commit(start.commit.to_owned())).column(),
        build: if rule.build.is_empty() { None } else { serde_json::to_value(&rule.build).ok() },
        reason: Some(format!("push to {}", ref_name.trim_start_matches("refs/heads/").trim_start_matches("refs/"))),
        kind: rule.kind.as_str().to_owned(),
        labels: Json(rule.labels.clone()),
        concurrency: rule.concurrency.as_str().to_owned(),
    }
}
