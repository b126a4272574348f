//! Audited actions: every change that a caller can request.

use strum::VariantArray;

use super::message::{Message, message};

/// An audited change, requested by a caller or made by Panda.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(parse_err_ty = Message, parse_err_fn = unknown_action)]
pub enum Action {
    /// A deployment is started.
    #[strum(serialize = "deploy")]
    Deploy,
    /// The traffic is switched.
    #[strum(serialize = "switch")]
    Switch,
    /// A deployment is stopped.
    #[strum(serialize = "cancel")]
    Cancel,
    /// A failed deployment is retried.
    #[strum(serialize = "retry")]
    Retry,
    /// The version before a deployment's returns.
    #[strum(serialize = "rollback")]
    Rollback,
    /// The outcome of a deployment in production is marked.
    #[strum(serialize = "outcome")]
    MarkOutcome,
    /// A source repository is connected.
    #[strum(serialize = "connect.github")]
    ConnectGithub,
    /// An AWS account is connected.
    #[strum(serialize = "connect.aws")]
    ConnectAws,
    /// A connection gets new credentials.
    #[strum(serialize = "connection.renew")]
    RenewConnection,
    /// The role that EventBridge assumes for the rules of a connected AWS account is created.
    #[strum(serialize = "connection.create_role")]
    CreateRuleRole,
    /// A connection is removed, and its stored credentials with it.
    #[strum(serialize = "connection.remove")]
    RemoveConnection,
    /// A build secret is stored or replaced under its name.
    #[strum(serialize = "build_secret.set")]
    SetBuildSecret,
    /// A build secret is removed; builds that name it report it as missing.
    #[strum(serialize = "build_secret.remove")]
    RemoveBuildSecret,
    /// A schedule is created; it acts with its creator's permission.
    #[strum(serialize = "schedule.create")]
    CreateSchedule,
    /// A schedule is changed, paused or resumed.
    #[strum(serialize = "schedule.change")]
    ChangeSchedule,
    /// A schedule is deleted; deployments that it started continue.
    #[strum(serialize = "schedule.delete")]
    DeleteSchedule,
    /// A schedule is run immediately, between its due times.
    #[strum(serialize = "schedule.run")]
    RunSchedule,
    /// A schedule stops because its owner's permission has ended.
    #[strum(serialize = "schedule.stop")]
    StopSchedule,
    /// A push hook is created; it acts with its creator's permission.
    #[strum(serialize = "hook.create")]
    CreatePushHook,
    /// A push hook is changed or taken over; the caller becomes its owner.
    #[strum(serialize = "hook.change")]
    ChangePushHook,
    /// A push hook is deleted; deployments that it started continue.
    #[strum(serialize = "hook.delete")]
    DeletePushHook,
    /// The secret of a push hook is rotated.
    #[strum(serialize = "hook.rotate")]
    RotatePushHook,
    /// A delivery of a push hook is decided again.
    #[strum(serialize = "hook.redeliver")]
    RedeliverPush,
    /// A GitHub App is begun: its manifest is returned for GitHub.
    #[strum(serialize = "github_app.begin")]
    BeginGithubApp,
    /// GitHub has created an App, whose private key is stored.
    #[strum(serialize = "github_app.create")]
    CreateGithubApp,
    /// A GitHub App is deleted from Panda, and its private key with it.
    #[strum(serialize = "github_app.delete")]
    DeleteGithubApp,
    /// A browser signs in.
    #[strum(serialize = "session.open")]
    OpenSession,
    /// A browser signs out.
    #[strum(serialize = "session.close")]
    CloseSession,
    /// An API token is created.
    #[strum(serialize = "token.create")]
    CreateToken,
    /// An API token is revoked.
    #[strum(serialize = "token.revoke")]
    RevokeToken,
    /// A subject of an OpenID Connect issuer is revoked.
    #[strum(serialize = "subject.revoke")]
    RevokeSubject,
    /// A revoked subject is accepted again.
    #[strum(serialize = "subject.restore")]
    RestoreSubject,
    /// The data keys are rewrapped with another key-encryption key.
    #[strum(serialize = "keys.rotate")]
    RotateKeys,
    /// A maintenance run is requested.
    #[strum(serialize = "maintenance.run")]
    RunMaintenance,
    /// Starts or switches are frozen for a time.
    #[strum(serialize = "freeze.create")]
    CreateFreeze,
    /// A freeze is lifted before its end.
    #[strum(serialize = "freeze.lift")]
    LiftFreeze,
    /// A version of a target's policy is stored.
    #[strum(serialize = "policy.set")]
    SetPolicy,
    /// A switch that needs several approvers is approved by one of them.
    #[strum(serialize = "approve")]
    Approve,
    /// A chat or mailbox is added, with its secret.
    #[strum(serialize = "channel.create")]
    CreateChannel,
    /// A channel is changed, disabled or enabled, or gets another secret.
    #[strum(serialize = "channel.change")]
    ChangeChannel,
    /// A channel is deleted, with its secret and deliveries.
    #[strum(serialize = "channel.delete")]
    DeleteChannel,
    /// A test message is sent to a channel.
    #[strum(serialize = "channel.test")]
    TestChannel,
    /// A dead letter of a channel is sent again.
    #[strum(serialize = "channel.replay")]
    ReplayChannelDelivery,
    /// A receiver of events is added.
    #[strum(serialize = "webhook.create")]
    CreateWebhook,
    /// A webhook is changed, disabled or enabled.
    #[strum(serialize = "webhook.change")]
    ChangeWebhook,
    /// A webhook is deleted, with its secrets and deliveries.
    #[strum(serialize = "webhook.delete")]
    DeleteWebhook,
    /// The secret of a webhook is rotated.
    #[strum(serialize = "webhook.rotate")]
    RotateWebhook,
    /// A test event is sent to a webhook.
    #[strum(serialize = "webhook.test")]
    TestWebhook,
    /// A dead letter of a webhook is sent again.
    #[strum(serialize = "webhook.replay")]
    ReplayDelivery,
    /// The log filter is changed for a limited time.
    #[strum(serialize = "log.set")]
    SetLogFilter,
    /// The log filter is reset to the configured one.
    #[strum(serialize = "log.reset")]
    ResetLogFilter,
    /// The tool `list_deployments` of `/mcp` is called.
    #[strum(serialize = "mcp.list_deployments")]
    McpListDeployments,
    /// The tool `get_result` is called.
    #[strum(serialize = "mcp.get_result")]
    McpGetResult,
    /// The tool `get_events` is called.
    #[strum(serialize = "mcp.get_events")]
    McpGetEvents,
    /// The tool `search_log` is called.
    #[strum(serialize = "mcp.search_log")]
    McpSearchLog,
    /// The tool `explain_failure` is called.
    #[strum(serialize = "mcp.explain_failure")]
    McpExplainFailure,
    /// The tool `report` is called.
    #[strum(serialize = "mcp.report")]
    McpReport,
    /// The tool `deploy` is called; the deployment that it starts has an entry as well.
    #[strum(serialize = "mcp.deploy")]
    McpDeploy,
    /// The tool `cancel` is called; the cancellation has an entry as well.
    #[strum(serialize = "mcp.cancel")]
    McpCancel,
    /// The tool `switch` is called; the switch has an entry as well.
    #[strum(serialize = "mcp.switch")]
    McpSwitch,
    /// A tool that does not exist is called.
    #[strum(serialize = "mcp.unknown_tool")]
    McpUnknownTool,
}

impl Action {
    /// Returns the name used in the table and on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the action of a request, by its method and matched route; none for a request that changes nothing.
    pub fn of_request(method: &str, route: &str) -> Option<Self> {
        match (method, route.strip_prefix("/api/v1/")?) {
            ("POST", "deploy") => Some(Self::Deploy),
            ("POST", "deploy/{id}/switch") => Some(Self::Switch),
            ("POST", "deploy/{id}/cancel") => Some(Self::Cancel),
            ("POST", "deploy/{id}/retry") => Some(Self::Retry),
            ("POST", "deploy/{id}/rollback") => Some(Self::Rollback),
            ("PUT", "deploy/{id}/outcome") => Some(Self::MarkOutcome),
            ("POST", "connect/github") => Some(Self::ConnectGithub),
            ("POST", "connect/aws") => Some(Self::ConnectAws),
            ("PUT", "connect/github/{id}" | "connect/aws/{id}") => Some(Self::RenewConnection),
            ("POST", "connect/aws/{id}/rule-role") => Some(Self::CreateRuleRole),
            ("DELETE", "connections/{id}") => Some(Self::RemoveConnection),
            ("PUT", "connect/github/{id}/secrets/{name}") => Some(Self::SetBuildSecret),
            ("DELETE", "connect/github/{id}/secrets/{name}") => Some(Self::RemoveBuildSecret),
            ("POST", "schedules") => Some(Self::CreateSchedule),
            ("PATCH", "schedules/{id}") => Some(Self::ChangeSchedule),
            ("DELETE", "schedules/{id}") => Some(Self::DeleteSchedule),
            ("POST", "schedules/{id}/run") => Some(Self::RunSchedule),
            ("POST", "hooks") => Some(Self::CreatePushHook),
            ("PUT", "hooks/{id}") => Some(Self::ChangePushHook),
            ("DELETE", "hooks/{id}") => Some(Self::DeletePushHook),
            ("POST", "hooks/{id}/secret") => Some(Self::RotatePushHook),
            ("POST", "hooks/{id}/deliveries/{delivery}/redelivery") => Some(Self::RedeliverPush),
            ("POST", "tokens") => Some(Self::CreateToken),
            ("DELETE", "tokens/{id}") => Some(Self::RevokeToken),
            ("POST", "revocations") => Some(Self::RevokeSubject),
            ("DELETE", "revocations/{id}") => Some(Self::RestoreSubject),
            ("POST", "maintenance/runs") => Some(Self::RunMaintenance),
            ("POST", "freezes") => Some(Self::CreateFreeze),
            ("DELETE", "freezes/{id}") => Some(Self::LiftFreeze),
            ("PUT", "policies/{owner}/{repo}") => Some(Self::SetPolicy),
            ("POST", "channels") => Some(Self::CreateChannel),
            ("PUT", "channels/{id}") => Some(Self::ChangeChannel),
            ("DELETE", "channels/{id}") => Some(Self::DeleteChannel),
            ("POST", "channels/{id}/test") => Some(Self::TestChannel),
            ("POST", "channels/{id}/deliveries/{delivery}/replay") => Some(Self::ReplayChannelDelivery),
            ("POST", "webhooks") => Some(Self::CreateWebhook),
            ("PUT", "webhooks/{id}") => Some(Self::ChangeWebhook),
            ("DELETE", "webhooks/{id}") => Some(Self::DeleteWebhook),
            ("POST", "webhooks/{id}/secret") => Some(Self::RotateWebhook),
            ("POST", "webhooks/{id}/test") => Some(Self::TestWebhook),
            ("POST", "webhooks/{id}/deliveries/{delivery}/replay") => Some(Self::ReplayDelivery),
            ("PUT", "log") => Some(Self::SetLogFilter),
            ("DELETE", "log") => Some(Self::ResetLogFilter),
            ("POST", "session") => Some(Self::OpenSession),
            _ => None,
        }
    }
}

fn unknown_action(text: &str) -> Message {
    let known: Vec<&str> = Action::VARIANTS.iter().map(|action| action.as_str()).collect();
    message!("rule.action", value = format!("{text:?}"), known = known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn action_names_round_trip() {
        for action in Action::VARIANTS {
            assert_eq!(action.as_str().parse::<Action>().unwrap(), *action);
        }
        assert!("delete".parse::<Action>().unwrap_err().to_string().contains("session.open"));
    }
}
