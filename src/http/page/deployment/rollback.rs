//! The rollback that the view offers: which version would return, and how.

use crate::db::deployments::DeploymentView;
use crate::domain::principal::Caller;
use crate::domain::rollback::{RollbackWay, way};
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::page::deployments::source_text;

/// A rollback as the dialog describes it. The command decides again when it is requested.
pub struct RollbackOffer {
    /// True if AWS takes the traffic back; otherwise a new deployment starts.
    pub at_aws: bool,
    /// Version to return to; none if Panda does not know it.
    pub to: Option<ReturningVersion>,
}

/// An earlier version, as the dialog shows it.
pub struct ReturningVersion {
    /// Id of its deployment.
    pub id: String,
    /// Branch, or what else was requested.
    pub source: String,
    pub commit_sha: Option<String>,
    pub image_digest: Option<String>,
}

impl RollbackOffer {
    /// Returns the rollback of a deployment; none if it is not COMPLETED and live, is being rolled back, or nothing can return.
    pub async fn of(state: &ApiState, caller: &Caller, row: &DeploymentView) -> Result<Option<Self>, ApiError> {
        if row.status != "COMPLETED" {
            return Ok(None);
        }
        let Some(possible) = state.db.possible_rollback(caller.scope(), &row.id).await? else { return Ok(None) };
        let (at_aws, to) = match way(&possible.live, possible.last_good, None) {
            Ok(RollbackWay::AtAws(to)) => (true, to),
            Ok(RollbackWay::NewDeployment { to, .. }) => (false, Some(to)),
            Err(_) => return Ok(None),
        };
        let to = match to {
            Some(to) => state.db.deployment_in(caller.scope(), &to.id).await?.map(|found| ReturningVersion {
                id: found.id,
                source: source_text(&found.branch),
                commit_sha: found.facts.commit_sha,
                image_digest: found.facts.image_digest,
            }),
            None => None,
        };
        Ok(Some(Self { at_aws, to }))
    }
}
