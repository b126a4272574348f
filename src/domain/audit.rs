//! Audited actions: every change that a caller can request.

use std::str::FromStr;

/// An audited change, requested by a caller or made by Panda.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A deployment is started.
    Deploy,
    /// The traffic is switched.
    Switch,
    /// A deployment is stopped.
    Cancel,
    /// A failed deployment is retried.
    Retry,
    /// A source repository is connected.
    ConnectGithub,
    /// An AWS account is connected.
    ConnectAws,
    /// A connection gets new credentials.
    RenewConnection,
    /// A connection is removed, and its stored credentials with it.
    RemoveConnection,
    /// A build secret is stored or replaced under its name.
    SetBuildSecret,
    /// A build secret is removed; builds that name it report it as missing.
    RemoveBuildSecret,
    /// A schedule is created; it acts with its creator's permission.
    CreateSchedule,
    /// A schedule is changed, paused or resumed.
    ChangeSchedule,
    /// A schedule is deleted; deployments that it started continue.
    DeleteSchedule,
    /// A schedule is run immediately, between its due times.
    RunSchedule,
    /// A schedule stops because its owner's permission has ended.
    StopSchedule,
    /// A browser signs in.
    OpenSession,
    /// A browser signs out.
    CloseSession,
    /// An API token is created.
    CreateToken,
    /// An API token is revoked.
    RevokeToken,
    /// A subject of an OpenID Connect issuer is revoked.
    RevokeSubject,
    /// A revoked subject is accepted again.
    RestoreSubject,
    /// The data keys are rewrapped with another key-encryption key.
    RotateKeys,
    /// A maintenance run is requested.
    RunMaintenance,
    /// The log filter is changed for a limited time.
    SetLogFilter,
    /// The log filter is reset to the configured one.
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

    /// Returns the name used in the table and on the wire.
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

    /// Returns the action of a request, by its method and matched route; none for a request that changes nothing.
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
            .ok_or_else(|| format!("unknown action {text:?}: use one of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn action_names_round_trip() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse::<Action>().unwrap(), action);
        }
        assert!("delete".parse::<Action>().unwrap_err().contains("session.open"));
    }
}
