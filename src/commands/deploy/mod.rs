//! Deploy: a new deployment at its first step. A target has one unfinished deployment; further ones are rejected, wait in the queue, or supersede the
//! others.

pub mod error;
pub mod removed_connection;
pub mod resolve;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use self::error::DeployError;
use self::removed_connection::{RemovedConnection, removed_connection};
use super::access::require_role;
use super::error::CommandError;
use super::idempotency::{Idempotent, KeyedTransaction};
use crate::db::audit::{self, AuditRecord};
use crate::db::deployments::insert::{self, Beginning};
use crate::db::deployments::target::{self, TargetUser};
use crate::db::deployments::{NewDeployment, requests};
use crate::db::idempotency::IdempotencyKey;
use crate::db::{Db, DbError, PgConnection, events, freezes, queue};
use crate::domain::audit::Action;
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Concurrency;
use crate::domain::event::Event;
use crate::domain::freeze::{Act, Place};
use crate::domain::hold::Hold;
use crate::domain::names::Names;
use crate::domain::principal::{Caller, Role};
use crate::domain::request::Purpose;

/// Values that every new deployment needs.
#[derive(Clone, Copy, Debug)]
pub struct Starter<'a> {
    /// Naming rules in AWS.
    pub names: &'a Names,
    /// Name of the first step.
    pub first_step: &'a str,
}

/// A deployment that was created.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatedDeployment {
    /// Start time (database clock).
    pub started_at: DateTime<Utc>,
    /// Position in the queue, from 1; none when the deployment holds the target.
    pub queue_position: Option<i64>,
    /// Deployments that were asked to end in favour of this one.
    pub superseded: Vec<String>,
    /// The freeze that holds its start; none when it does not wait for one.
    pub held: Option<Hold>,
}

/// Reason for which a deployment is not possible, or not now.
#[derive(Clone, Debug, PartialEq)]
pub enum DeployRefusal {
    /// The ECR repository's name belongs to this other source repository in that account and region.
    NameTaken {
        /// Account or organisation of the other source repository.
        owner: String,
        /// Name of the other source repository.
        repo: String,
    },
    /// This deployment holds the target, or waits for it, and the new one was not to wait.
    TargetTaken(String),
    /// A deployment to be superseded is switching its traffic: only an approver may stop that.
    NeedsApprover,
    /// A connection was removed a moment ago, or has to be renewed first.
    Connection(RemovedConnection),
}

impl DeployRefusal {
    /// Converts to the error of a request by this caller, which hides repositories outside the caller's scope.
    pub(super) fn into_error(self, ecr_repository: &str, by: &Caller) -> CommandError {
        match self {
            Self::TargetTaken(other) => DeployError::TargetTaken { other, retry_of: None }.into(),
            Self::NameTaken { owner, repo } => DeployError::RepositoryNameTaken {
                ecr_repository: ecr_repository.to_owned(),
                other: by.scope().holds(&owner, &repo).then(|| format!("{owner}/{repo}")),
            }
            .into(),
            Self::NeedsApprover => CommandError::NotAllowed { needed: Role::Approver, role: by.principal.role },
            Self::Connection(unusable) => unusable.into(),
        }
    }
}

/// Creates a deployment at its first step, and stores `answer` (made from the row) under the key.
///
/// # Errors
/// The caller's role is too low, another deployment has the target, its ECR repository belongs to another source, or a connection cannot be used.
pub async fn deploy(
    db: &Db,
    new: &NewDeployment,
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl FnOnce(&CreatedDeployment) -> Value,
) -> Result<Idempotent<CreatedDeployment>, CommandError> {
    require_role(by, if new.freeze_override.is_some() { Role::Approver } else { Role::Deployer })?;
    let mut tx = KeyedTransaction::begin(db, key).await?;
    if let Some(answer) = tx.repeated().await? {
        return Ok(Idempotent::Replayed(answer));
    }
    let created = create(&mut tx, new, by).await?.map_err(|refusal| refusal.into_error(&new.ecr_repository, by))?;
    tx.commit(&answer(&created)).await?;
    Ok(Idempotent::Fresh(created))
}

/// Creates a deployment and its audit entry within the caller's transaction. A refusal has written nothing.
pub(super) async fn create(
    tx: &mut PgConnection,
    new: &NewDeployment,
    by: &Caller,
) -> Result<Result<CreatedDeployment, DeployRefusal>, DbError> {
    // Two concurrent creations for one target must see each other.
    queue::lock_target(tx, &new.account_id, &new.region, &new.ecr_repository).await?;
    if let Some(removed) = removed_connection(tx, &new.github_connection_id, &new.aws_connection_id).await? {
        return Ok(Err(DeployRefusal::Connection(removed)));
    }
    if let Some((owner, repo)) = target::other_source(tx, new).await? {
        return Ok(Err(DeployRefusal::NameTaken { owner, repo }));
    }
    let others = target::unfinished(tx, new).await?;
    if let Some(refusal) = refusal(&others, new.concurrency, by) {
        return Ok(Err(refusal));
    }
    let superseded = match new.concurrency {
        Concurrency::Supersede => {
            let ids: Vec<String> = others.iter().map(|other| other.id.clone()).collect();
            requests::supersede(tx, &ids, &new.id).await?
        }
        Concurrency::Reject | Concurrency::Queue => Vec::new(),
    };
    let rolls_back = rolls_back(tx, new).await?;
    let found = if rolls_back { None } else { freezes::hold_of_start(tx, &place(new)).await? };
    let overridden = found.clone().zip(new.freeze_override.as_deref());
    let held = found.filter(|_| overridden.is_none());
    // A rollback is ahead of all but other rollbacks, and an overridden freeze does not hold it behind those that wait for the freeze's end.
    let ahead = |other: &&TargetUser| other.rollback || new.caused_by.is_none();
    let holder = others.iter().any(|other| !other.queued);
    let waiting = others.iter().filter(|other| other.queued && !superseded.contains(&other.id)).filter(ahead).count();
    let passes = rolls_back || overridden.is_some();
    let taken = if passes { holder || others.iter().any(|other| other.exempt) } else { !others.is_empty() };
    let beginning = Beginning { queued: taken || held.is_some(), rolls_back, freeze_overridden: overridden.is_some() };
    let started_at = insert::insert(tx, new, beginning, by).await?;
    let mut created = CreatedDeployment { started_at, queue_position: None, superseded, held };
    if beginning.queued {
        let position = i64::try_from(waiting).unwrap_or(i64::MAX - 1) + 1;
        created.queue_position = Some(position);
        if taken {
            let event = Event::new(EventCode::DeploymentQueued).with("position", position);
            events::append(tx, &new.id, &event).await?;
        }
    }
    if let Some(held) = &created.held {
        events::append(tx, &new.id, &held.held()).await?;
    }
    if let Some((hold, reason)) = &overridden {
        events::append(tx, &new.id, &hold.overridden(Act::Start, &by.principal.subject, reason)).await?;
    }
    record(tx, new, &created, overridden.map(|(hold, _)| hold), by).await?;
    Ok(Ok(created))
}

/// Reports that the deployment brings a version back: no freeze holds it. The kind alone does not: it is any caller's word.
async fn rolls_back(tx: &mut PgConnection, new: &NewDeployment) -> Result<bool, DbError> {
    let named = new.requested.kind == Purpose::Rollback;
    Ok(new.caused_by.is_some() || (named && target::returns_release(tx, new).await?))
}

fn place(new: &NewDeployment) -> Place {
    Place {
        owner: new.owner.clone(),
        repo: new.repo.clone(),
        account_id: new.account_id.clone(),
        region: new.region.clone(),
    }
}

/// Decides what the target's unfinished deployments mean for a new one.
fn refusal(others: &[TargetUser], concurrency: Concurrency, by: &Caller) -> Option<DeployRefusal> {
    match (others.first(), concurrency) {
        (Some(other), Concurrency::Reject) => Some(DeployRefusal::TargetTaken(other.id.clone())),
        (_, Concurrency::Supersede) => {
            let may_stop = by.principal.role >= Role::Approver || !others.iter().any(|other| other.switching);
            (!may_stop).then_some(DeployRefusal::NeedsApprover)
        }
        (None, Concurrency::Reject) | (_, Concurrency::Queue) => None,
    }
}

async fn record(
    tx: &mut PgConnection,
    new: &NewDeployment,
    created: &CreatedDeployment,
    overridden: Option<Hold>,
    by: &Caller,
) -> Result<(), DbError> {
    let mut details = new.requested.details();
    details.extend([
        ("concurrency".to_owned(), json!(new.concurrency.as_str())),
        ("superseded".to_owned(), json!(created.superseded)),
        ("githubConnectionId".to_owned(), json!(new.github_connection_id)),
        ("awsConnectionId".to_owned(), json!(new.aws_connection_id)),
    ]);
    if let Some(reason) = &new.freeze_override {
        // Without a hold it is for the gates, which the steps check.
        let freeze = overridden.as_ref().and_then(Hold::freeze_id);
        details.insert("override".to_owned(), json!({"freeze": freeze, "reason": reason}));
    }
    let details = Value::Object(details);
    let (target, repository) = (Some(new.id.as_str()), Some((new.owner.as_str(), new.repo.as_str())));
    let entry = AuditRecord { by, action: Action::Deploy, target, repository, refused: None, details };
    let audited = audit::record(tx, &entry).await?;
    requests::link_audit(tx, &new.id, &created.superseded, audited).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::principal::Principal;

    fn by(role: Role) -> Caller {
        let principal = Principal { role, ..Principal::without_authentication() };
        Caller { principal: Arc::new(principal), ..Caller::local() }
    }

    #[test]
    fn only_an_approver_supersedes_a_switch() {
        let other = |switching| {
            [TargetUser { id: "dep_1".to_owned(), queued: false, switching, rollback: false, exempt: false }]
        };
        let supersede = |switching, role| refusal(&other(switching), Concurrency::Supersede, &by(role));
        assert_eq!(supersede(true, Role::Deployer), Some(DeployRefusal::NeedsApprover));
        assert_eq!(supersede(true, Role::Approver), None);
        assert_eq!(supersede(false, Role::Deployer), None);
    }

    #[test]
    fn busy_target_refuses_unless_queued() {
        let other =
            [TargetUser { id: "dep_1".to_owned(), queued: false, switching: false, rollback: false, exempt: false }];
        let reject = |others: &[TargetUser]| refusal(others, Concurrency::Reject, &by(Role::Admin));
        assert_eq!(reject(&other), Some(DeployRefusal::TargetTaken("dep_1".to_owned())));
        assert_eq!(reject(&[]), None);
        assert_eq!(refusal(&other, Concurrency::Queue, &by(Role::Deployer)), None);
    }
}
