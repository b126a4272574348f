//! A call of a tool: whether the server permits it, the tool, and the record of the call in audit and metrics.

use rmcp::model::{CallToolResult, JsonObject};
use serde_json::{Value, json};

use super::answer::{ToolAnswer, refusal};
use super::caller::ToolCaller;
use super::error::McpError;
use super::tool::{ToolName, UNKNOWN};
use super::{act, read};
use crate::domain::audit::Action;
use crate::domain::refusals::RefusedAction;
use crate::domain::text;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::{MAX_NAME, is_id};

/// Calls a tool, and records the call. A refusal is a result as well.
///
/// # Errors
/// There is no such tool.
pub async fn call(caller: &ToolCaller, name: &str, arguments: JsonObject) -> Result<CallToolResult, Problem> {
    let target = target(&arguments);
    let Ok(tool) = name.parse::<ToolName>() else {
        let error = ApiError::from(McpError::ToolNotFound(text::cut(name, MAX_NAME)));
        record(caller, UNKNOWN, Action::McpUnknownTool, None, Some(&error)).await;
        return Err(error.problem());
    };
    let answered = answer(caller, tool, arguments).await.and_then(|answer| answer.result(caller.lang));
    record(caller, tool.as_str(), tool.action(), target, answered.as_ref().err()).await;
    match answered {
        Ok(result) => Ok(result),
        Err(error) => {
            error.log();
            Ok(refusal(error.problem(), caller.lang))
        }
    }
}

async fn answer(caller: &ToolCaller, tool: ToolName, arguments: JsonObject) -> Result<ToolAnswer, ApiError> {
    if tool.acts() && !caller.state.config.mcp_actions {
        return Err(McpError::ActionsOff.into());
    }
    match tool {
        ToolName::ListDeployments => read::list::call(caller, arguments).await,
        ToolName::GetResult => read::result::call(caller, arguments).await,
        ToolName::GetEvents => read::events::call(caller, arguments).await,
        ToolName::SearchLog => read::search::call(caller, arguments).await,
        ToolName::ExplainFailure => read::explain::call(caller, arguments).await,
        ToolName::Report => read::report::call(caller, arguments).await,
        ToolName::Deploy => act::deploy(caller, arguments).await,
        ToolName::Cancel => act::cancel(caller, arguments).await,
        ToolName::Switch => act::switch(caller, arguments).await,
    }
}

/// Records a call: the first of a kind immediately, the number of its repetitions a minute later. A fault of the server is no refusal, and the log has
/// it.
async fn record(
    caller: &ToolCaller,
    tool: &'static str,
    action: Action,
    target: Option<String>,
    error: Option<&ApiError>,
) {
    caller.state.metrics.mcp.called(tool, error.is_some());
    let problem = error.map(ApiError::problem);
    if problem.as_ref().is_some_and(|problem| !(400..500).contains(&problem.status)) {
        return;
    }
    let refused = |problem: &Problem| json!({"status": problem.status, "message": problem.detail});
    let details = problem.as_ref().map_or(json!({}), refused);
    let code = problem.map(|problem| problem.error_code);
    let recorder = if code.is_some() { &caller.recorders.refused } else { &caller.recorders.answered };
    recorder.record(RefusedAction { by: caller.caller.clone(), action, target, code, details }).await;
}

/// The deployment that a call is about, for the audit.
fn target(arguments: &JsonObject) -> Option<String> {
    arguments.get("deploymentId").and_then(Value::as_str).filter(|id| is_id(id)).map(str::to_owned)
}
