//! Descriptions of the tools, for agents.

use rmcp::model::{Tool, ToolAnnotations};

use super::schemas;
use super::tool::ToolName;

/// Returns what `tools/list` says about a tool.
pub fn definition(tool: ToolName) -> Tool {
    let hints = ToolAnnotations::new().read_only(!tool.acts()).open_world(false);
    let hints = if tool.acts() {
        hints.destructive(tool != ToolName::Deploy).idempotent(tool != ToolName::Deploy)
    } else {
        hints
    };
    Tool::new(tool.as_str(), description(tool), schemas::input(tool))
        .with_raw_output_schema(schemas::output())
        .with_annotations(hints)
}

fn description(tool: ToolName) -> &'static str {
    match tool {
        ToolName::ListDeployments => {
            "Lists deployments, newest first, with status, source, commit and error code. Filters must all match."
        }
        ToolName::GetResult => {
            "Reads all facts of a deployment: status, source, image, addresses of both sides, attempts, failure, and what holds it."
        }
        ToolName::GetEvents => {
            "Reads the log of a deployment in order: its newest events, or those after the number `after` (0 for the beginning)."
        }
        ToolName::SearchLog => {
            "Finds events of a deployment whose text contains a text, ignoring case. Read the lines around a match with get_events."
        }
        ToolName::ExplainFailure => {
            "Explains why a deployment failed: error code, cause, remedy, and the lines of the log before the failure."
        }
        ToolName::Report => {
            "Runs a report about past deployments: DORA figures, lead times, failures, queues and more. Rows are lists with one value for each column."
        }
        ToolName::Deploy => "Starts a deployment. It has no effect on traffic until an approver switches it.",
        ToolName::Cancel => "Cancels an unfinished deployment. One that is being switched needs an approver.",
        ToolName::Switch => {
            "Switches the traffic of a ready deployment to green, for approvers. A deployment that the caller started is refused."
        }
    }
}
