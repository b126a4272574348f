//! What is kept of each change that somebody asks for.

use std::str::FromStr;

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A deployment is started.
    Deploy,
    /// The traffic is switched.
    Switch,
    /// A deployment is stopped.
    Cancel,
    /// A deployment is tried again.
    Retry,
    /// A source repository is connected.
    ConnectGithub,
    /// An AWS account is connected.
    ConnectAws,
    /// A connection gets new credentials.
    RenewConnection,
    /// A connection is removed.
    RemoveConnection,
    /// A build secret is set.
    SetBuildSecret,
    /// A build secret is removed.
    RemoveBuildSecret,
    /// A schedule is made.
    CreateSchedule,
    /// A schedule is changed, paused or resumed.
    ChangeSchedule,
    /// A schedule is deleted.
    DeleteSchedule,
    /// A schedule is run out of turn.
    RunSchedule,
    /// A schedule stops: the permission that it acts with has ended.
    StopSchedule,
    /// A browser signs in.
    OpenSession,
    /// A browser signs out.
    CloseSession,
    /// An API token is made.
    CreateToken,
    /// An API token is taken back.
    RevokeToken,
    /// A subject of an OpenID Connect issuer is refused from now on.
    RevokeSubject,
    /// Such a subject is accepted again.
    RestoreSubject,
    /// The data keys are wrapped with another key.
    RotateKeys,
    /// Maintenance is run now.
    RunMaintenance,
    /// What is logged is changed for a while.
    SetLogFilter,
    /// What is logged goes back.
    ResetLogFilter,
}

impl Action {
    const ALL: [Self; 25] = [
        Self::Deploy,
        Self::Switch,
        Self::Cancel,
        Self::Retry,
        Self::ConnectGithub,
        Self::ConnectAws,
        Self::RenewConnection,
        Self::RemoveConnection,
        Self::SetBuildSecret,
        Self::RemoveBuildSecret,
        Self::CreateSchedule,
        Self::ChangeSchedule,
        Self::DeleteSchedule,
        Self::RunSchedule,
        Self::StopSchedule,
        Self::OpenSession,
        Self::CloseSession,
        Self::CreateToken,
        Self::RevokeToken,
        Self::RevokeSubject,
        Self::RestoreSubject,
        Self::RotateKeys,
        Self::RunMaintenance,
        Self::SetLogFilter,
        Self::ResetLogFilter,
    ];

    /// As it is stored and written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Switch => "switch",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::ConnectGithub => "connect.github",
            Self::ConnectAws => "connect.aws",
            Self::RenewConnection => "connection.renew",
            Self::RemoveConnection => "connection.remove",
            Self::SetBuildSecret => "build_secret.set",
            Self::RemoveBuildSecret => "build_secret.remove",
            Self::CreateSchedule => "schedule.create",
            Self::ChangeSchedule => "schedule.change",
            Self::DeleteSchedule => "schedule.delete",
            Self::RunSchedule => "schedule.run",
            Self::StopSchedule => "schedule.stop",
            Self::OpenSession => "session.open",
            Self::CloseSession => "session.close",
            Self::CreateToken => "token.create",
            Self::RevokeToken => "token.revoke",
            Self::RevokeSubject => "subject.revoke",
            Self::RestoreSubject => "subject.restore",
            Self::RotateKeys => "keys.rotate",
            Self::RunMaintenance => "maintenance.run",
            Self::SetLogFilter => "log.set",
            Self::ResetLogFilter => "log.reset",
        }
    }

    /// What a request asks for, by its method and the route that it matched; none when that changes nothing.
    pub fn of_request(method: &str, route: &str) -> Option<Self> {
        match (method, route.strip_prefix("/api/v1/")?) {
            ("POST", "deploy") => Some(Self::Deploy),
            ("POST", "deploy/{id}/switch") => Some(Self::Switch),
            ("POST", "deploy/{id}/cancel") => Some(Self::Cancel),
            ("POST", "deploy/{id}/retry") => Some(Self::Retry),
            ("POST", "connect/github") => Some(Self::ConnectGithub),
            ("POST", "connect/aws") => Some(Self::ConnectAws),
            ("PUT", "connect/github/{id}" | "connect/aws/{id}") => Some(Self::RenewConnection),
            ("DELETE", "connections/{id}") => Some(Self::RemoveConnection),
            ("PUT", "connect/github/{id}/secrets/{name}") => Some(Self::SetBuildSecret),
            ("DELETE", "connect/github/{id}/secrets/{name}") => Some(Self::RemoveBuildSecret),
            ("POST", "schedules") => Some(Self::CreateSchedule),
            ("PATCH", "schedules/{id}") => Some(Self::ChangeSchedule),
            ("DELETE", "schedules/{id}") => Some(Self::DeleteSchedule),
            ("POST", "schedules/{id}/run") => Some(Self::RunSchedule),
            ("POST", "revocations") => Some(Self::RevokeSubject),
            ("DELETE", "revocations/{id}") => Some(Self::RestoreSubject),
            ("POST", "maintenance/runs") => Some(Self::RunMaintenance),
            ("PUT", "log") => Some(Self::SetLogFilter),
            ("DELETE", "log") => Some(Self::ResetLogFilter),
            ("POST", "session") => Some(Self::OpenSession),
            _ => None,
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| format!("there are the actions {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_read_as_it_is_written() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse::<Action>().unwrap(), action);
        }
        assert!("delete".parse::<Action>().unwrap_err().contains("session.open"));
    }
}
