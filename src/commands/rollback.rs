//! Rollback: an approver requests that the version before the live one returns. While blue lives, AWS takes the traffic back; afterwards a new deployment
//! brings an earlier image again, ahead of the queue. Requesting it again changes nothing.

use serde_json::{Value, json};

use super::access::require_role;
use super::deploy::error::DeployError;
use super::deploy::{Starter, create};
use super::deployment_change::{Begun, DeploymentChange, not_found};
use super::error::CommandError;
use super::idempotency::{Idempotent, KeyedTransaction};
use crate::db::audit::{self, AuditRecord};
use crate::db::deployments::rollback::{self as releases, RollbackSubject};
use crate::db::deployments::target::{self, DeploymentTarget};
use crate::db::deployments::{self, NewDeployment};
use crate::db::idempotency::IdempotencyKey;
use crate::db::{Db, PgConnection, queue};
use crate::domain::audit::Action;
use crate::domain::build_spec::BuildSpec;
use crate::domain::deployment::{Concurrency, Status};
use crate::domain::ids;
use crate::domain::labels::Labels;
use crate::domain::message::message;
use crate::domain::principal::{Caller, Role};
use crate::domain::request::{Purpose, Requested};
use crate::domain::rollback::{NoRollback, Release, RollbackWay, way};
use crate::domain::source::Source;
use crate::domain::validate::FieldRefusal;

/// A caller's request to roll a deployment back.
#[derive(Clone, Copy, Debug)]
pub struct RollbackRequest<'a> {
    /// Id of the live deployment.
    pub id: &'a str,
    /// Id of the deployment whose version is to return; none for the last good one.
    pub to: Option<&'a str>,
    /// Reason in the caller's words.
    pub reason: Option<&'a str>,
    /// Key of the request, if it has one.
    pub key: Option<&'a IdempotencyKey>,
    /// Caller whose role and scope are checked.
    pub by: &'a Caller,
}

/// How a rollback is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarriedOut {
    /// AWS takes the traffic back.
    AtAws,
    /// A new deployment brings the earlier image.
    NewDeployment,
}

/// A rollback that was requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedRollback {
    /// Way in which the version returns.
    pub how: CarriedOut,
    /// Id of the deployment that carries it out: the live one, or a new one.
    pub deployment_id: String,
    /// Id of the deployment whose version returns; none if Panda does not know it.
    pub to: Option<String>,
    /// Digest of the image that returns; none if Panda does not know it.
    pub image_digest: Option<String>,
    /// Position of the new deployment in the queue; none when it is not queued.
    pub queue_position: Option<i64>,
}

/// Requests the rollback, and stores `answer` under the key.
///
/// # Errors
/// The caller is not an approver; the deployment is unknown, not COMPLETED, not live or being rolled back to another version; or no earlier version can
/// return.
pub async fn rollback(
    db: &Db,
    starter: Starter<'_>,
    request: RollbackRequest<'_>,
    answer: impl FnOnce(&AcceptedRollback) -> Value,
) -> Result<Idempotent<AcceptedRollback>, CommandError> {
    let RollbackRequest { id, key, by, .. } = request;
    require_role(by, Role::Approver)?;
    let change = DeploymentChange { id, key, by, answer: &Value::Null };
    let mut tx = match change.begin(db).await? {
        Begun::First(tx) => tx,
        Begun::Repeated(answer) => return Ok(Idempotent::Replayed(answer)),
    };
    let Some(target) = target::target_of(&mut tx, id).await? else { return Err(not_found(&mut tx, &change).await) };
    queue::lock_target(&mut tx, &target.account_id, &target.region, &target.ecr_repository).await?;
    releases::lock(&mut tx, id).await?;
    let Some(subject) = releases::subject(&mut tx, by.scope(), id).await? else {
        return Err(not_found(&mut tx, &change).await);
    };
    require_live(&mut tx, &subject).await?;
    let chosen = match request.to {
        Some(to) => Some(chosen(&mut tx, &subject, to, by).await?),
        None => None,
    };
    let live = releases::with_release_before(&mut tx, &subject).await?;
    let last_good = releases::last_good(&mut tx, &subject).await?;
    let way = way(&live, last_good, chosen).map_err(|why| refused(why, id))?;
    let requested = carry_out(&mut tx, starter, &request, &subject, way).await?;
    tx.commit(&answer(&requested)).await?;
    Ok(Idempotent::Fresh(requested))
}

/// Requires that the deployment is COMPLETED, and that no newer one is live.
async fn require_live(tx: &mut PgConnection, subject: &RollbackSubject) -> Result<(), CommandError> {
    let id = subject.release.id.clone();
    if subject.status != Status::Completed {
        return Err(DeployError::RollbackNotCompleted { id, status: subject.status }.into());
    }
    match releases::live_id(tx, &subject.target).await? {
        Some(live) if live != id => Err(DeployError::RollbackNotLive { id, live }.into()),
        _ => Ok(()),
    }
}

/// Returns the release that the caller chose, if it is one of the same target.
async fn chosen(
    tx: &mut PgConnection,
    subject: &RollbackSubject,
    to: &str,
    by: &Caller,
) -> Result<Release, CommandError> {
    let Some(found) = releases::subject(tx, by.scope(), to).await? else {
        let archived = deployments::is_archived(tx, by.scope(), to).await?;
        let rule =
            if archived { message!("rule.rollback_archived", to) } else { message!("rule.rollback_unknown", to) };
        return Err(FieldRefusal::new("to", rule).into());
    };
    let place =
        |target: &DeploymentTarget| (target.account_id.clone(), target.region.clone(), target.ecr_repository.clone());
    let rule = if place(&found.target) != place(&subject.target) {
        message!("rule.rollback_elsewhere", to)
    } else if found.status != Status::Completed {
        message!("rule.rollback_not_completed", to, status = found.status.as_str())
    } else {
        return Ok(found.release);
    };
    Err(FieldRefusal::new("to", rule).into())
}

fn refused(why: NoRollback, id: &str) -> CommandError {
    match why {
        NoRollback::NoEarlierRelease => DeployError::NoEarlierRelease(id.to_owned()).into(),
        NoRollback::NoDigest => FieldRefusal::new("to", message!("rule.rollback_no_image")).into(),
        NoRollback::SameVersion => FieldRefusal::new("to", message!("rule.rollback_same_image")).into(),
    }
}

/// Records the request at AWS, or creates the new deployment; a rollback that is in progress already is the answer if it is the same one.
async fn carry_out(
    tx: &mut KeyedTransaction<'_>,
    starter: Starter<'_>,
    request: &RollbackRequest<'_>,
    subject: &RollbackSubject,
    way: RollbackWay,
) -> Result<AcceptedRollback, CommandError> {
    let id = subject.release.id.as_str();
    let unfinished = releases::unfinished(tx, id).await?;
    let other = |with: &str| DeployError::RollbackInProgress { id: id.to_owned(), with: with.to_owned() };
    match way {
        RollbackWay::AtAws(to) => {
            if let Some(unfinished) = unfinished {
                return Err(other(&unfinished.id).into());
            }
            let requested = AcceptedRollback {
                how: CarriedOut::AtAws,
                deployment_id: id.to_owned(),
                image_digest: to.as_ref().and_then(|to| to.image_digest.clone()),
                to: to.map(|to| to.id),
                queue_position: None,
            };
            let audited = record(tx, request, &requested).await?;
            if releases::request(tx, id, audited).await? { Ok(requested) } else { Err(other(id).into()) }
        }
        RollbackWay::NewDeployment { .. } if subject.rolling_back => Err(other(id).into()),
        RollbackWay::NewDeployment { to, image_digest } => {
            let (deployment_id, queue_position) = match unfinished {
                Some(same) if same.image_digest == image_digest => (same.id, same.queued.then_some(1)),
                Some(unfinished) => return Err(other(&unfinished.id).into()),
                None => start(tx, starter, request, subject, image_digest.clone()).await?,
            };
            let requested = AcceptedRollback {
                how: CarriedOut::NewDeployment,
                deployment_id,
                to: Some(to.id),
                image_digest: Some(image_digest),
                queue_position,
            };
            record(tx, request, &requested).await?;
            Ok(requested)
        }
    }
}

/// Creates the deployment of the earlier image; returns its id and its position in the queue.
async fn start(
    tx: &mut PgConnection,
    starter: Starter<'_>,
    request: &RollbackRequest<'_>,
    subject: &RollbackSubject,
    image_digest: String,
) -> Result<(String, Option<i64>), CommandError> {
    let target = subject.target.clone();
    let new = NewDeployment {
        id: ids::deployment_id(),
        owner: subject.owner.clone(),
        repo: subject.repo.clone(),
        requested: Requested {
            source: Source::Image(image_digest),
            build: BuildSpec::default(),
            reason: request.reason.map(str::to_owned),
            kind: Purpose::Rollback,
            // The row gets those of the deployment that it rolls back.
            labels: Labels::default(),
        },
        github_connection_id: target.github_connection_id,
        aws_connection_id: target.aws_connection_id,
        account_id: target.account_id,
        region: target.region,
        ecr_repository: target.ecr_repository,
        first_step: starter.first_step.to_owned(),
        concurrency: Concurrency::Queue,
        caused_by: Some(subject.release.id.clone()),
        freeze_override: None,
        trace: None,
    };
    let created = create(tx, &new, request.by).await?;
    let created = created.map_err(|refusal| refusal.into_error(&new.ecr_repository, request.by))?;
    Ok((new.id, created.queue_position))
}

/// Records the request in the audit log: who, why, how and what returns.
async fn record(
    tx: &mut PgConnection,
    request: &RollbackRequest<'_>,
    requested: &AcceptedRollback,
) -> Result<i64, CommandError> {
    let details = json!({
        "how": match requested.how { CarriedOut::AtAws => "at_aws", CarriedOut::NewDeployment => "new_deployment" },
        "deploymentId": requested.deployment_id,
        "to": requested.to,
        "imageDigest": requested.image_digest,
        "reason": request.reason,
    });
    let (target, repository) = (Some(request.id), None);
    let entry = AuditRecord { by: request.by, action: Action::Rollback, target, repository, refused: None, details };
    Ok(audit::record(tx, &entry).await?)
}
