//! Creation of deployments: one row each, and no external effect. A target has one unfinished deployment; further ones are rejected, wait in the
//! queue, or supersede the others.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::audit::{self, AuditRecord};
use super::idempotency::{IdempotencyKey, Idempotent, reserve, store_answer};
use super::{Db, DbError, events, queue};
use crate::domain::audit::Action;
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Concurrency;
use crate::domain::event::Event;
use crate::domain::principal::{Caller, Role};
use crate::domain::request::Requested;
use crate::domain::trace::Trace;

/// Values of a new row.
#[derive(Clone, Debug)]
pub struct NewDeployment {
    /// Deployment id, with the prefix `dep_`.
    pub id: String,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// Source revision, build options and reason, as requested.
    pub requested: Requested,
    /// Id of the connection to the source repository, with the prefix `gh_`.
    pub github_connection_id: String,
    /// Id of the connection to the AWS account, with the prefix `aws_`.
    pub aws_connection_id: String,
    /// AWS account to deploy to: twelve digits.
    pub account_id: String,
    /// AWS region to deploy to.
    pub region: String,
    /// Name of the ECR repository.
    pub ecr_repository: String,
    /// Name of the first step.
    pub first_step: String,
    /// Policy for a target that has an unfinished deployment.
    pub concurrency: Concurrency,
    /// Trace of the requesting caller; none starts a new trace.
    pub trace: Option<Trace>,
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
}

/// Outcome of a request to create a deployment.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// The row was inserted.
    New(CreatedDeployment),
    /// The key was used for the same body before: the stored answer.
    Replayed(Value),
    /// The key was used for another body.
    KeyReused,
    /// The deployment is not possible, or not now.
    Refused(CreateRefusal),
}

/// Reason for which no row was inserted.
#[derive(Clone, Debug, PartialEq)]
pub enum CreateRefusal {
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
    /// This connection was removed a moment ago.
    ConnectionRemoved(String),
    /// This role has to be connected again first.
    ConnectionOutdated(String),
}

/// Reason for which no new deployment may use a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UnusableConnection {
    /// The connection was removed.
    Removed(String),
    /// The connection is a role with an external id that the caller chose: it may be another tenant's role. Running deployments keep using it.
    Outdated(String),
}

/// An unfinished deployment of the target.
struct Other {
    id: String,
    queued: bool,
    switching: bool,
}

impl Db {
    /// Creates a deployment at its first step and stores `answer` (made from the row) under the key, in one transaction.
    pub async fn create_deployment(
        &self,
        new: &NewDeployment,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: impl FnOnce(&CreatedDeployment) -> Value,
    ) -> Result<Created, DbError> {
        let key = self.keyed(key).await?;
        let mut tx = self.pool.begin().await?;
        match reserve::<()>(&mut tx, key.as_ref()).await? {
            Some(Idempotent::Replayed(answer)) => return Ok(Created::Replayed(answer)),
            Some(Idempotent::KeyReused) => return Ok(Created::KeyReused),
            Some(Idempotent::Fresh(())) | None => {}
        }
        let made = match create(&mut tx, new, by).await? {
            Ok(made) => made,
            Err(refusal) => return Ok(Created::Refused(refusal)),
        };
        store_answer(&mut tx, key.as_ref(), &answer(&made)).await?;
        tx.commit().await?;
        Ok(Created::New(made))
    }
}

/// Creates a deployment and its audit entry within the caller's transaction. A refusal has written nothing.
pub(super) async fn create(
    tx: &mut PgConnection,
    new: &NewDeployment,
    by: &Caller,
) -> Result<Result<CreatedDeployment, CreateRefusal>, DbError> {
    // Two concurrent creations for one target must see each other.
    queue::lock_target(tx, &new.account_id, &new.region, &new.ecr_repository).await?;
    match unusable_connection(tx, &new.github_connection_id, &new.aws_connection_id).await? {
        Some(UnusableConnection::Removed(id)) => return Ok(Err(CreateRefusal::ConnectionRemoved(id))),
        Some(UnusableConnection::Outdated(id)) => return Ok(Err(CreateRefusal::ConnectionOutdated(id))),
        None => {}
    }
    if let Some((owner, repo)) = name_taken(tx, new).await? {
        return Ok(Err(CreateRefusal::NameTaken { owner, repo }));
    }
    let others = unfinished(tx, new).await?;
    if let (Some(other), Concurrency::Reject) = (others.first(), new.concurrency) {
        return Ok(Err(CreateRefusal::TargetTaken(other.id.clone())));
    }
    let may_stop = by.principal.role >= Role::Approver || !others.iter().any(|other| other.switching);
    if new.concurrency == Concurrency::Supersede && !may_stop {
        return Ok(Err(CreateRefusal::NeedsApprover));
    }
    let superseded = match new.concurrency {
        Concurrency::Supersede => supersede(tx, &others, &new.id).await?,
        Concurrency::Reject | Concurrency::Queue => Vec::new(),
    };
    let started_at = insert(tx, new, !others.is_empty(), by).await?;
    let mut made = CreatedDeployment { started_at, queue_position: None, superseded };
    if !others.is_empty() {
        let waiting = others.iter().filter(|other| other.queued && !made.superseded.contains(&other.id)).count();
        let position = i64::try_from(waiting).unwrap_or(i64::MAX - 1) + 1;
        made.queue_position = Some(position);
        let event = Event::new(EventCode::DeploymentQueued).with("position", position);
        events::append_first(tx, &new.id, &event).await?;
    }
    let mut details = new.requested.details();
    details.extend([
        ("concurrency".to_owned(), json!(new.concurrency.as_str())),
        ("superseded".to_owned(), json!(made.superseded)),
        ("githubConnectionId".to_owned(), json!(new.github_connection_id)),
        ("awsConnectionId".to_owned(), json!(new.aws_connection_id)),
    ]);
    let details = Value::Object(details);
    let (target, repository) = (Some(new.id.as_str()), Some((new.owner.as_str(), new.repo.as_str())));
    audit::record(tx, &AuditRecord { by, action: Action::Deploy, target, repository, refused: None, details }).await?;
    Ok(Ok(made))
}

/// Returns the connection that cannot be used, if any. Locks both rows until the caller's transaction ends: a deletion waits for that, and then sees
/// the new deployment.
pub(super) async fn unusable_connection(
    connection: &mut PgConnection,
    github: &str,
    aws: &str,
) -> Result<Option<UnusableConnection>, DbError> {
    let found =
        sqlx::query!("SELECT FROM github_connections WHERE id = $1 AND removed_at IS NULL FOR KEY SHARE", github)
            .fetch_optional(&mut *connection)
            .await?;
    if found.is_none() {
        return Ok(Some(UnusableConnection::Removed(github.to_owned())));
    }
    let outdated = sqlx::query_scalar!(
        "SELECT role_arn IS NOT NULL AND NOT external_id_derived AS \"outdated!\" FROM aws_connections
         WHERE id = $1 AND removed_at IS NULL FOR KEY SHARE",
        aws
    );
    Ok(match outdated.fetch_optional(connection).await? {
        None => Some(UnusableConnection::Removed(aws.to_owned())),
        Some(true) => Some(UnusableConnection::Outdated(aws.to_owned())),
        Some(false) => None,
    })
}

/// Finds another source repository to which the ECR repository's name belongs.
async fn name_taken(connection: &mut PgConnection, new: &NewDeployment) -> Result<Option<(String, String)>, DbError> {
    let taken = sqlx::query!(
        // All rows are of one repository if the first and the last of them in order are.
        "SELECT owner AS \"owner!\", repo AS \"repo!\" FROM (
             (SELECT owner, repo FROM deployments WHERE account_id = $1 AND region = $2 AND ecr_repository = $3
              ORDER BY lower(owner COLLATE \"C\") || '/' || lower(repo COLLATE \"C\") LIMIT 1)
             UNION ALL
             (SELECT owner, repo FROM deployments WHERE account_id = $1 AND region = $2 AND ecr_repository = $3
              ORDER BY lower(owner COLLATE \"C\") || '/' || lower(repo COLLATE \"C\") DESC LIMIT 1)
         ) AS ends
         WHERE lower(owner COLLATE \"C\") || '/' || lower(repo COLLATE \"C\") <> lower($4 COLLATE \"C\") || '/' || lower($5 COLLATE \"C\")
         LIMIT 1",
        new.account_id,
        new.region,
        new.ecr_repository,
        new.owner,
        new.repo
    )
    .fetch_optional(connection)
    .await?;
    Ok(taken.map(|other| (other.owner, other.repo)))
}

/// Lists the unfinished deployments of the target: the holder first, then those in the queue, in order.
async fn unfinished(connection: &mut PgConnection, new: &NewDeployment) -> Result<Vec<Other>, DbError> {
    Ok(sqlx::query_as!(
        Other,
        "SELECT id, queued, switch_requested_at IS NOT NULL AS \"switching!\" FROM deployments
         WHERE account_id = $1 AND region = $2 AND ecr_repository = $3 AND status IN ('RUNNING', 'DEPLOYMENT_READY')
         ORDER BY queued, queued_at, id",
        new.account_id,
        new.region,
        new.ecr_repository
    )
    .fetch_all(connection)
    .await?)
}

/// Requests the cancellation of all `others` in favour of `newer`. Deployments cancelled before keep their reason.
async fn supersede(connection: &mut PgConnection, others: &[Other], newer: &str) -> Result<Vec<String>, DbError> {
    let ids: Vec<String> = others.iter().map(|other| other.id.clone()).collect();
    Ok(sqlx::query_scalar!(
        "UPDATE deployments
         SET superseded_by = CASE WHEN cancel_requested_at IS NULL THEN $2 ELSE superseded_by END,
             cancel_requested_at = coalesce(cancel_requested_at, now())
         WHERE id = ANY ($1) AND status IN ('RUNNING', 'DEPLOYMENT_READY') RETURNING id",
        &ids,
        newer
    )
    .fetch_all(connection)
    .await?)
}

async fn insert(
    connection: &mut PgConnection,
    new: &NewDeployment,
    queued: bool,
    by: &Caller,
) -> Result<DateTime<Utc>, DbError> {
    Ok(sqlx::query_scalar!(
        "INSERT INTO deployments (id, owner, repo, branch, github_connection_id, aws_connection_id, account_id, region,
                                  ecr_repository, step, concurrency, queued, queued_at, started_by, trace_id, trace_parent, build, reason,
                                  kind)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $12 THEN clock_timestamp() END, $13,
                 coalesce($14, replace(gen_random_uuid()::text, '-', '')), $15, $16, $17, $18)
         RETURNING started_at",
        new.id,
        new.owner,
        new.repo,
        new.requested.source.column(),
        new.github_connection_id,
        new.aws_connection_id,
        new.account_id,
        new.region,
        new.ecr_repository,
        new.first_step,
        new.concurrency.as_str(),
        queued,
        by.principal.known_subject(),
        new.trace.as_ref().map(|trace| trace.id.as_str()),
        new.trace.as_ref().and_then(|trace| trace.parent.as_deref()),
        new.requested.build_column(),
        new.requested.reason,
        new.requested.kind.as_str()
    )
    .fetch_one(connection)
    .await?)
}
