//! Errors of the tools of `/mcp` that no endpoint of the API has.

use crate::domain::message::{Message, message};
use crate::http::error::problem::{Problem, problem_types};

/// Reason why a tool does not answer.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// No tool with this name exists.
    #[error("no tool {0}")]
    ToolNotFound(String),
    /// The server permits only tools that read.
    #[error("the tools only read")]
    ActionsOff,
    /// Without authentication, no caller is distinguished from the one who started the deployment.
    #[error("a switch needs a caller who is signed in")]
    SwitchNeedsSignIn,
    /// The answer has more bytes than an agent should read.
    #[error("the result has more than {max} bytes")]
    ResultTooLarge {
        /// Largest number of bytes of a result.
        max: usize,
    },
}

problem_types! {
    McpError:
    ToolNotFound => NOT_FOUND, "MCP_TOOL_NOT_FOUND";
    ActionsOff => FORBIDDEN, "MCP_ACTIONS_OFF";
    SwitchNeedsSignIn => FORBIDDEN, "MCP_SWITCH_NEEDS_SIGN_IN";
    ResultTooLarge => UNPROCESSABLE_ENTITY, "MCP_RESULT_TOO_LARGE";
}

impl McpError {
    pub(in crate::http) fn problem(&self) -> Problem {
        Problem::new(self.problem_type(), self.detail())
    }

    fn detail(&self) -> Message {
        match self {
            Self::ToolNotFound(name) => message!("MCP_TOOL_NOT_FOUND.detail", name),
            Self::ActionsOff => message!("MCP_ACTIONS_OFF.detail"),
            Self::SwitchNeedsSignIn => message!("MCP_SWITCH_NEEDS_SIGN_IN.detail"),
            Self::ResultTooLarge { max } => message!("MCP_RESULT_TOO_LARGE.detail", max = *max),
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![
            Self::ToolNotFound("{tool}".to_owned()),
            Self::ActionsOff,
            Self::SwitchNeedsSignIn,
            Self::ResultTooLarge { max: 262_144 },
        ]
    }
}
