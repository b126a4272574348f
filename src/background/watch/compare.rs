//! The comparison of a row with its rollout at AWS: cheap, and never a decision. A step decides.

use crate::clients::aws::Observed;
use crate::db::watch::WatchedDeployment;
use crate::domain::deployment::Status;
use crate::domain::rollout::Standing;

/// Result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// AWS has the state of the row.
    Same,
    /// AWS has another state, or the row lacks a fact that AWS has.
    Differs,
    /// The traffic must be looked at as well.
    Unclear,
}

/// Reports whether a look is due when AWS refuses the credentials: only what can still be switched or cancelled needs them.
pub(super) fn must_report_refusal(row: &WatchedDeployment) -> bool {
    row.status == Status::DeploymentReady && !row.awaits_renewal
}

/// Compares a row with the rollout that AWS returned; `None` if AWS has none.
pub(super) fn compare(row: &WatchedDeployment, seen: Option<&Observed>) -> Comparison {
    let Some(seen) = seen else { return Comparison::Differs };
    // AWS has answered: the wait for renewed credentials is over.
    if row.awaits_renewal {
        return Comparison::Differs;
    }
    match (&seen.standing, row.status) {
        (Standing::Succeeded | Standing::Ended, _) => Comparison::Differs,
        // Another hook, or another end where AWS states one, is another wait.
        (Standing::Waiting(pause), Status::DeploymentReady) if pause.hook != row.pause_hook => Comparison::Differs,
        (Standing::Waiting(pause), Status::DeploymentReady) => {
            let known = match pause.until {
                Some(until) => row.ready_until == Some(until),
                None => row.ready_until.is_some() || !seen.has_deadline,
            };
            if known { Comparison::Same } else { Comparison::Differs }
        }
        // It was seen waiting, and waits no more.
        (Standing::Active, Status::DeploymentReady) if row.ready_until.is_some() => Comparison::Differs,
        (Standing::Active, Status::DeploymentReady) => Comparison::Unclear,
        _ => Comparison::Same,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;

    use super::*;
    use crate::clients::aws::{CodeDeployStatus, CodeDeployment, ServiceDeployment};
    use crate::domain::rollout::{Pause, RolloutId};
    use crate::domain::traffic_shift::TrafficShift;

    fn row(status: Status, waiting: bool) -> WatchedDeployment {
        WatchedDeployment {
            id: "dep_1".to_owned(),
            aws_connection_id: "aws_1".to_owned(),
            region: "eu-west-1".to_owned(),
            status,
            rollout: RolloutId::CodeDeploy("d-1".to_owned()),
            pause_hook: None,
            ready_until: DateTime::from_timestamp(9, 0).filter(|_| waiting),
            awaits_renewal: false,
        }
    }

    fn code_deploy(status: CodeDeployStatus) -> CodeDeployment {
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
            production_routes: Vec::new(),
        }
    }

    fn seen(status: CodeDeployStatus) -> Observed {
        code_deploy(status).into()
    }

    fn native(status: &str, until: Option<i64>) -> Observed {
        let pause = until.map(|until| Pause { until: DateTime::from_timestamp(until, 0), ..Pause::default() });
        ServiceDeployment {
            arn: "arn".to_owned(),
            status: status.to_owned(),
            stage: "POST_TEST_TRAFFIC_SHIFT".to_owned(),
            pause,
            waits_for_approval: true,
            wait_ended: false,
            green_weight: Some(0.0),
            target_revision: None,
            shift: TrafficShift::AllAtOnce,
            ended_at: None,
            why: None,
        }
        .into()
    }

    #[test]
    fn ready_row_of_ecs() {
        let waiting = |status, until| compare(&row(Status::DeploymentReady, true), Some(&native(status, until)));
        assert_eq!(waiting("IN_PROGRESS", Some(9)), Comparison::Same);
        assert_eq!(waiting("IN_PROGRESS", Some(10)), Comparison::Differs, "the next pause");
        assert_eq!(waiting("IN_PROGRESS", None), Comparison::Differs, "it waits no more");
        assert_eq!(waiting("ROLLBACK_IN_PROGRESS", None), Comparison::Differs);
        let other_hook = WatchedDeployment { pause_hook: Some("h".to_owned()), ..row(Status::DeploymentReady, true) };
        assert_eq!(compare(&other_hook, Some(&native("IN_PROGRESS", Some(9)))), Comparison::Differs);
        let new = compare(&row(Status::DeploymentReady, false), Some(&native("IN_PROGRESS", Some(9))));
        assert_eq!(new, Comparison::Differs, "the deadline is not known yet");
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
        let endless = CodeDeployment { ready_wait: None, ..code_deploy(Ready) }.into();
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
