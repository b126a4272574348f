//! A new deployment: a row, which is the wish. One unfinished deployment a target: the others are refused, wait, or take its place.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::audit::{self, Entry};
use super::idempotency::{IdempotencyKey, Once, keep, reserve};
use super::{Db, DbError, events, turns};
use crate::domain::audit::Action;
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Concurrency;
use crate::domain::event::Event;
use crate::domain::principal::{Caller, Role};
use crate::domain::request::Requested;
use crate::domain::trace::Trace;

/// What is needed for a new row.
#[derive(Clone, Debug)]
pub struct NewDeployment {
    /// `dep_…`
    pub id: String,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// What it was asked for.
    pub requested: Requested,
    /// `gh_…`
    pub github_connection_id: String,
    /// `aws_…`
    pub aws_connection_id: String,
    /// AWS account that is deployed to.
    pub account_id: String,
    /// AWS region that is deployed to.
    pub region: String,
    /// Name of the ECR repository.
    pub ecr_repository: String,
    /// Name of the first step.
    pub first_step: String,
    /// What to do when the target has an unfinished deployment.
    pub concurrency: Concurrency,
    /// The trace of whoever asks for it; one of its own when there is none.
    pub trace: Option<Trace>,
}

/// A row that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// When it started (database clock).
    pub started_at: DateTime<Utc>,
    /// Its place in the queue, from 1; none when it holds the target.
    pub queue_position: Option<i64>,
    /// The deployments whose end it asked for.
    pub superseded: Vec<String>,
}

/// What became of a request to create.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// The row is there.
    New(Made),
    /// The key was used for the same body before: the answer of then.
    Repeated(Value),
    /// The key was used for another body.
    KeyReused,
    /// It cannot be, or not now.
    Refused(Refusal),
}

/// Why there is no new row.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The ECR repository's name belongs to this other source repository in that account and region.
    NameTaken {
        /// Account or organisation of the other.
        owner: String,
        /// Repository of the other.
        repo: String,
    },
    /// This deployment holds the target, or waits for it, and the new one was not to wait.
    TargetTaken(String),
    /// The traffic of one that it was to supersede is being moved: only an approver may stop that.
    NeedsApprover,
    /// This connection was removed a moment ago.
    ConnectionRemoved(String),
    /// This role has to be connected again first.
    ConnectionOutdated(String),
}

/// Why nothing new is started with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It was removed.
    Removed(String),
    /// It is a role with an external id that the caller chose: it may be another tenant's role. Running deployments keep it.
    Outdated(String),
}

/// An unfinished deployment of the target.
struct Other {
    id: String,
    queued: bool,
    switching: bool,
}

impl Db {
    /// Creates a deployment at its first step, and keeps `answer` (made from the row) for the key, in one transaction.
    pub async fn create_deployment(
        &self,
        new: &NewDeployment,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: impl FnOnce(&Made) -> Value,
    ) -> Result<Created, DbError> {
        let key = self.keyed(key).await?;
        let mut tx = self.pool.begin().await?;
        match reserve::<()>(&mut tx, key.as_ref()).await? {
            Some(Once::Repeated(answer)) => return Ok(Created::Repeated(answer)),
            Some(Once::KeyReused) => return Ok(Created::KeyReused),
            Some(Once::Now(())) | None => {}
        }
        let made = match create(&mut tx, new, by).await? {
            Ok(made) => made,
            Err(refusal) => return Ok(Created::Refused(refusal)),
        };
        keep(&mut tx, key.as_ref(), &answer(&made)).await?;
        tx.commit().await?;
        Ok(Created::New(made))
    }
}

/// Creates a deployment within the caller's transaction, with its entry in the audit. A refusal has written nothing.
pub(super) async fn create(
    tx: &mut PgConnection,
    new: &NewDeployment,
    by: &Caller,
) -> Result<Result<Made, Refusal>, DbError> {
    // Two creations for one target at once must see each other.
    turns::lock_target(tx, &new.account_id, &new.region, &new.ecr_repository).await?;
    match unusable_connection(tx, &new.github_connection_id, &new.aws_connection_id).await? {
        Some(Unusable::Removed(id)) => return Ok(Err(Refusal::ConnectionRemoved(id))),
        Some(Unusable::Outdated(id)) => return Ok(Err(Refusal::ConnectionOutdated(id))),
        None => {}
    }
    if let Some((owner, repo)) = name_taken(tx, new).await? {
        return Ok(Err(Refusal::NameTaken { owner, repo }));
    }
    let others = unfinished(tx, new).await?;
    if let (Some(other), Concurrency::Reject) = (others.first(), new.concurrency) {
        return Ok(Err(Refusal::TargetTaken(other.id.clone())));
    }
    let may_stop = by.principal.role >= Role::Approver || !others.iter().any(|other| other.switching);
    if new.concurrency == Concurrency::Supersede && !may_stop {
        return Ok(Err(Refusal::NeedsApprover));
    }
    let superseded = match new.concurrency {
        Concurrency::Supersede => supersede(tx, &others, &new.id).await?,
        Concurrency::Reject | Concurrency::Queue => Vec::new(),
    };
    let started_at = insert(tx, new, !others.is_empty(), by).await?;
    let mut made = Made { started_at, queue_position: None, superseded };
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
    audit::record(tx, &Entry { by, action: Action::Deploy, target, repository, refused: None, details }).await?;
    Ok(Ok(made))
}

/// Which of the two cannot be used. Those that are there stay until the caller's transaction ends: a removal waits for it, and then sees
/// the new deployment.
pub(super) async fn unusable_connection(
    connection: &mut PgConnection,
    github: &str,
    aws: &str,
) -> Result<Option<Unusable>, DbError> {
    let found =
        sqlx::query!("SELECT FROM github_connections WHERE id = $1 AND removed_at IS NULL FOR KEY SHARE", github)
            .fetch_optional(&mut *connection)
            .await?;
    if found.is_none() {
        return Ok(Some(Unusable::Removed(github.to_owned())));
    }
    let outdated = sqlx::query_scalar!(
        "SELECT role_arn IS NOT NULL AND NOT external_id_derived AS \"outdated!\" FROM aws_connections
         WHERE id = $1 AND removed_at IS NULL FOR KEY SHARE",
        aws
    );
    Ok(match outdated.fetch_optional(connection).await? {
        None => Some(Unusable::Removed(aws.to_owned())),
        Some(true) => Some(Unusable::Outdated(aws.to_owned())),
        Some(false) => None,
    })
}

/// The other source repository to which the ECR repository's name belongs, if one does.
async fn name_taken(connection: &mut PgConnection, new: &NewDeployment) -> Result<Option<(String, String)>, DbError> {
    let taken = sqlx::query!(
        // They are all of one repository if the first and the last of them in order are.
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

/// The unfinished deployments of the target: the one that holds it first, then those that wait, in order.
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

/// Wishes for the end of all `others`, in favour of `newer`. Those that somebody cancelled before keep their reason.
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
