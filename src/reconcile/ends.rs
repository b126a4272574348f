//! How a deployment comes to rest: at a status, or with a failure.

use super::driver::{Driver, NextAction};
use crate::db::DbError;
use crate::db::commit::Change;
use crate::domain::catalogue::Lang;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::reason::Reason;
use crate::domain::{Deployment, Status};
use crate::steps::{Step, remove_workspace};
use crate::telemetry::traces;

impl Driver {
    /// Releases the row at `status`, at `step`. A look that finds the deployment at this status already changes neither status nor clock.
    pub(super) fn rest(change: &mut Change, deployment: &Deployment, status: Status, step: Option<Step>) {
        change.release = true;
        let same = step.as_ref().is_none_or(|step| step.name() == deployment.step);
        if deployment.status == status && same {
            change.step_state = step.map(|step| step.state());
        } else {
            change.status = (deployment.status != status).then_some(status);
            change.step = step.map(|step| (step.name().to_owned(), step.state()));
        }
    }

    /// Fails the deployment. One whose traffic is on green stays COMPLETED, unless the traffic went back: any other error ends only the watch.
    pub(super) async fn end_failed(
        &self,
        deployment: &mut Deployment,
        code: ErrorCode,
        reason: &Reason,
        mut change: Change,
    ) -> Result<NextAction, DbError> {
        if deployment.status == Status::Completed && code != ErrorCode::RolledBackAfterSwitch {
            tracing::warn!(%code, %reason, "traffic of the switched deployment no longer watched");
            let ended = Change { watched: Some(false), release: true, ..Change::default() };
            return self.commit(deployment, ended, NextAction::Done).await;
        }
        let event = Event::failed(code, reason.clone());
        tracing::warn!(%code, %reason, step = deployment.step, "deployment failed");
        traces::mark_failed(code.as_str(), &reason.to_string());
        change.status = Some(Status::Failed);
        change.error = Some((code.as_str().to_owned(), event.render(Lang::Ko).message));
        change.trouble = Some((code.as_str().to_owned(), reason.to_string()));
        change.events.push(event);
        change.release = true;
        let after = self.commit(deployment, change, NextAction::Done).await?;
        if let Err(error) = remove_workspace(&self.services.settings.workspace_dir, &deployment.id).await {
            tracing::warn!(%error, "workspace not removed; a maintenance run will remove it");
        }
        Ok(after)
    }

    /// Like [`Self::end_failed`], outside an iteration. Returns false when the failure could not be recorded.
    pub(super) async fn fail(&self, deployment: &mut Deployment, code: ErrorCode, reason: impl Into<Reason>) -> bool {
        match self.end_failed(deployment, code, &reason.into(), Change::default()).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "failure of the deployment not recorded");
                false
            }
        }
    }
}
