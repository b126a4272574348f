//! The tools: names, and which of them a caller may use.

use crate::domain::audit::Action;
use crate::domain::message::Message;
use crate::domain::principal::Role;

/// Name of all unknown tools in metrics.
pub const UNKNOWN: &str = "unknown";

/// A tool. Its name is part of the contract with agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case", parse_err_ty = Message, parse_err_fn = unknown_name)]
pub enum ToolName {
    /// Lists deployments, newest first.
    ListDeployments,
    /// Reads all facts of a deployment.
    GetResult,
    /// Reads the log of a deployment.
    GetEvents,
    /// Searches the log of a deployment.
    SearchLog,
    /// Explains why a deployment failed.
    ExplainFailure,
    /// Runs a report about past deployments.
    Report,
    /// Starts a deployment of a source.
    Deploy,
    /// Cancels an unfinished deployment.
    Cancel,
    /// Switches the traffic to green.
    Switch,
}

fn unknown_name(name: &str) -> Message {
    Message::verbatim(name)
}

impl ToolName {
    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the lowest role of a caller who may use it.
    pub fn role(self) -> Role {
        match self {
            Self::Deploy | Self::Cancel => Role::Deployer,
            Self::Switch => Role::Approver,
            _ => Role::Viewer,
        }
    }

    /// Returns true if it changes something, which the server must permit (`PANDA_MCP_ACTIONS`).
    pub fn acts(self) -> bool {
        self.role() > Role::Viewer
    }

    /// Returns the action of its audit entries.
    pub fn action(self) -> Action {
        match self {
            Self::ListDeployments => Action::McpListDeployments,
            Self::GetResult => Action::McpGetResult,
            Self::GetEvents => Action::McpGetEvents,
            Self::SearchLog => Action::McpSearchLog,
            Self::ExplainFailure => Action::McpExplainFailure,
            Self::Report => Action::McpReport,
            Self::Deploy => Action::McpDeploy,
            Self::Cancel => Action::McpCancel,
            Self::Switch => Action::McpSwitch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::VariantArray as _;

    #[test]
    fn audit_names_the_tool() {
        for tool in ToolName::VARIANTS {
            assert_eq!(tool.action().as_str(), format!("mcp.{}", tool.as_str()));
            assert_eq!(tool.as_str().parse::<ToolName>(), Ok(*tool));
        }
    }
}
