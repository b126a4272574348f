//! Switch: an approver requests that the traffic of a ready deployment moves to green. Requesting it again changes nothing.

use super::access::require_role;
use super::deploy::error::DeployError;
use super::deployment_change::{Begun, DeploymentChange, not_found};
use super::error::CommandError;
use super::idempotency::{Idempotent, KeyedTransaction};
use crate::db::deployments::requests;
use crate::db::{Db, PgConnection, events};
use crate::domain::audit::Action;
use crate::domain::deployment::Status;
use crate::domain::principal::{Caller, Role};

/// Conditions of a switch.
#[derive(Clone, Copy, Debug)]
pub struct SwitchTerms<'a> {
    /// The caller that started the attempt may not approve it.
    pub four_eyes: bool,
    /// Digest of the image that the approver has reviewed; none for whatever is ready.
    pub image_digest: Option<&'a str>,
}

/// Requests the switch.
///
/// # Errors
/// The caller is not an approver or started the attempt, or the deployment is unknown, not ready, already switched, being cancelled or of another image.
pub async fn switch(
    db: &Db,
    change: DeploymentChange<'_>,
    terms: SwitchTerms<'_>,
) -> Result<Idempotent<()>, CommandError> {
    let DeploymentChange { id, by, .. } = change;
    require_role(by, Role::Approver)?;
    let mut tx = match change.begin(db).await? {
        Begun::First(tx) => tx,
        Begun::Repeated(answer) => return Ok(Idempotent::Replayed(answer)),
    };
    if terms.four_eyes && has_started(&mut tx, id, by).await? {
        return Err(DeployError::ApproverStartedIt(id.to_owned()).into());
    }
    let audited = change.record(&mut tx, Action::Switch).await?;
    if requests::request_switch(&mut tx, id, terms.image_digest, audited).await? {
        return change.commit(tx).await;
    }
    let id = id.to_owned();
    Err(match requests::status(&mut tx, &id).await? {
        None => not_found(&mut tx, &change).await,
        Some(Status::Running) => {
            let stage = events::latest_stage(&mut tx, &id).await?;
            DeployError::SwitchTooEarly { id, stage }.into()
        }
        Some(Status::Completed) => DeployError::AlreadySwitched(id).into(),
        Some(Status::Failed) => DeployError::Failed(id).into(),
        // Only a requested cancellation, or another image, prevents the switch of a ready deployment.
        Some(Status::DeploymentReady) => match (terms.image_digest, requests::image_digest(&mut tx, &id).await?) {
            (Some(reviewed), Some(actual)) if reviewed != actual => DeployError::ImageChanged { id, actual }.into(),
            _ => DeployError::BeingCancelled(id).into(),
        },
    })
}

/// Reports that `four_eyes` keeps the caller from approving the deployment, whatever their role.
///
/// # Errors
/// The database.
pub async fn needs_other_approver(db: &Db, id: &str, by: &Caller, four_eyes: bool) -> Result<bool, CommandError> {
    Ok(four_eyes && has_started(&mut *KeyedTransaction::begin(db, None).await?, id, by).await?)
}

/// Reports that the caller started the attempt. The owner of a schedule counts as the starter of its deployments: otherwise a schedule would let a
/// caller approve their own deployment.
async fn has_started(tx: &mut PgConnection, id: &str, by: &Caller) -> Result<bool, CommandError> {
    let starter = requests::starter(tx, id).await?;
    Ok(starter.is_some_and(|starter| by.principal.known_subject() == Some(&starter)))
}
