//! The comparison of a row with CodeDeploy's deployment: cheap, and never a decision. A step decides.

use crate::clients::aws::{CodeDeployStatus, CodeDeployment};
use crate::db::watch::WatchedDeployment;
use crate::domain::deployment::Status;

/// Result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// AWS has the state of the row.
    Same,
    /// AWS has another state, or the row lacks a fact that AWS has.
    Differs,
    /// The life cycle must be read as well.
    Unclear,
}

/// Reports whether a look is due when AWS refuses the credentials: only what can still be switched or cancelled needs them.
pub(super) fn must_report_refusal(row: &WatchedDeployment) -> bool {
    row.status == Status::DeploymentReady && !row.awaits_renewal
}

/// Compares a row with the deployment that AWS returned; `None` if AWS has none.
pub(super) fn compare(row: &WatchedDeployment, seen: Option<&CodeDeployment>) -> Comparison {
    let Some(seen) = seen else { return Comparison::Differs };
    // AWS has answered: the wait for renewed credentials is over.
    if row.awaits_renewal {
        return Comparison::Differs;
    }
    match (&seen.status, row.status) {
        (CodeDeployStatus::Succeeded | CodeDeployStatus::Failed | CodeDeployStatus::Stopped, _) => Comparison::Differs,
        (CodeDeployStatus::Ready, Status::DeploymentReady)
            if row.ready_until.is_none() && seen.ready_wait.is_some() =>
        {
            Comparison::Differs
        }
        // It was seen waiting, and waits no more.
        (CodeDeployStatus::InProgress | CodeDeployStatus::Baking, Status::DeploymentReady)
            if row.ready_until.is_some() =>
        {
            Comparison::Differs
        }
        (CodeDeployStatus::InProgress | CodeDeployStatus::Baking, Status::DeploymentReady) => Comparison::Unclear,
        _ => Comparison::Same,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;

    use super::*;

    fn row(status: Status, waiting: bool) -> WatchedDeployment {
        WatchedDeployment {
            id: "dep_1".to_owned(),
            aws_connection_id: "aws_1".to_owned(),
            region: "eu-west-1".to_owned(),
            status,
            code_deploy_deployment_id: "d-1".to_owned(),
            ready_until: DateTime::from_timestamp(9, 0).filter(|_| waiting),
            awaits_renewal: false,
        }
    }

    fn seen(status: CodeDeployStatus) -> CodeDeployment {
        CodeDeployment {
            id: "d-1".to_owned(),
            application: None,
            configuration: None,
            status,
            error: None,
            completed_at: None,
            ready_wait: Some(Duration::from_hours(1)),
            keeps_blue: false,
            rollback_id: None,
        }
    }

    #[test]
    fn ready_row() {
        use CodeDeployStatus::{Created, Failed, InProgress, Queued, Ready, Stopped, Succeeded, Unknown};
        let waiting = |status| compare(&row(Status::DeploymentReady, true), Some(&seen(status)));
        for same in [Ready, Created, Queued, Unknown("Pondering".to_owned())] {
            assert_eq!(waiting(same), Comparison::Same);
        }
        for other in [InProgress, Succeeded, Failed, Stopped] {
            assert_eq!(waiting(other), Comparison::Differs);
        }
        let new = |status| compare(&row(Status::DeploymentReady, false), Some(&seen(status)));
        assert_eq!(new(Ready), Comparison::Differs, "the deadline is not known yet");
        assert_eq!(new(InProgress), Comparison::Unclear, "it may not wait yet");
        let endless = CodeDeployment { ready_wait: None, ..seen(Ready) };
        assert_eq!(compare(&row(Status::DeploymentReady, false), Some(&endless)), Comparison::Same);
        assert_eq!(compare(&row(Status::DeploymentReady, true), None), Comparison::Differs);
    }

    #[test]
    fn refused_credentials() {
        let refused = |status, awaits_renewal| WatchedDeployment { awaits_renewal, ..row(status, true) };
        assert!(must_report_refusal(&refused(Status::DeploymentReady, false)));
        assert!(!must_report_refusal(&refused(Status::DeploymentReady, true)), "reported once");
        assert!(!must_report_refusal(&refused(Status::Completed, false)));
        let renewed = compare(&refused(Status::DeploymentReady, true), Some(&seen(CodeDeployStatus::Ready)));
        assert_eq!(renewed, Comparison::Differs);
    }

    #[test]
    fn switched_row() {
        use CodeDeployStatus::{Baking, Failed, InProgress, Ready, Stopped, Succeeded};
        let switched = |status| compare(&row(Status::Completed, true), Some(&seen(status)));
        for same in [InProgress, Baking, Ready] {
            assert_eq!(switched(same), Comparison::Same);
        }
        for other in [Succeeded, Failed, Stopped] {
            assert_eq!(switched(other), Comparison::Differs);
        }
        assert_eq!(compare(&row(Status::Completed, false), None), Comparison::Differs);
    }
}
