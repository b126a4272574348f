//! The protocol's server: what it is, which tools the caller has, and their calls.

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ErrorData, Implementation, JsonObject, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::json;
use strum::VariantArray as _;
use tracing::Instrument as _;

use super::call::call;
use super::caller::ToolCaller;
use super::definition::definition;
use super::tool::ToolName;
use crate::domain::message::message;

/// Answers one request of the protocol. Cheap to clone.
#[derive(Clone)]
pub struct ToolHandler(ToolCaller);

impl ToolHandler {
    pub fn new(caller: ToolCaller) -> Self {
        Self(caller)
    }

    /// Returns true if the server and the caller's role permit the tool.
    fn has(&self, tool: ToolName) -> bool {
        (!tool.acts() || self.0.state.config.mcp_actions) && self.0.caller.principal.role >= tool.role()
    }
}

impl ServerHandler for ToolHandler {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("panda", env!("CARGO_PKG_VERSION")))
            .with_instructions(message!("mcp.instructions").text(self.0.lang))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = ToolName::VARIANTS.iter().filter(|tool| self.has(**tool)).map(|tool| definition(*tool));
        Ok(ListToolsResult::with_all_items(tools.collect()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        name.parse::<ToolName>().ok().map(definition)
    }

    /// A refusal is a result, so that the agent reads its code and remedy; only an unknown tool is an error of the protocol.
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments: JsonObject = request.arguments.unwrap_or_default();
        let called = self.0.state.requests.run(&self.0.caller, call(&self.0, &request.name, arguments));
        match Box::pin(called.instrument(self.0.span.clone())).await {
            Ok(result) => Ok(result.into()),
            Err(problem) => {
                let problem = problem.in_language(self.0.lang);
                Err(ErrorData::invalid_params(problem.detail, Some(json!({"errorCode": problem.error_code}))))
            }
        }
    }
}
