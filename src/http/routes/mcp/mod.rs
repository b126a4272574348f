//! `POST /mcp`: the tools of the Model Context Protocol for agents, by streamable HTTP without sessions: each request is complete, is answered with one
//! JSON message, and may reach any replica. rmcp has the protocol; the tools translate only, and call what the endpoints of the API call.
//!
//! The endpoint is not part of the OpenAPI document: its messages are the protocol's (docs/mcp.md).

mod act;
mod answer;
mod arguments;
mod call;
mod caller;
mod definition;
pub mod error;
mod handler;
mod read;
mod schemas;
mod tool;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http_body_util::Full;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use strum::VariantArray as _;
use tracing::Span;

use self::caller::{CallRecorders, ToolCaller};
use self::handler::ToolHandler;
use self::tool::ToolName;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::error::ApiError;
use crate::http::extract::read_body;
use crate::http::language::{self, AskedLang};
use crate::http::middleware::audit_refusals::RefusalRecorder;
use crate::http::{ApiState, MAX_BODY};

/// Path of the endpoint.
pub const PATH: &str = "/mcp";

/// Builds the route. Must be called within a Tokio runtime, because it spawns the task that records calls.
pub fn routes(state: &ApiState, refused: RefusalRecorder) -> Router<ApiState> {
    // Separate windows: many reads must not hide a refusal in a row that counts several.
    let answered = RefusalRecorder::start(state.db.clone(), state.shutdown.clone());
    let recorders = CallRecorders { answered, refused };
    for tool in ToolName::VARIANTS {
        state.metrics.mcp.register_tool(tool.as_str());
    }
    state.metrics.mcp.register_tool(tool::UNKNOWN);
    let handle =
        async move |State(state), role, lang, request| handle(state, recorders.clone(), role, lang, request).await;
    Router::new().route(PATH, post(handle))
}

async fn handle(
    state: ApiState,
    recorders: CallRecorders,
    RequireRole { caller, grant, .. }: RequireRole<Viewer>,
    asked: AskedLang,
    request: Request,
) -> Result<Response, ApiError> {
    let lang = asked.of_errors();
    let (parts, body) = request.into_parts();
    let body = read_body(Request::from_parts(parts.clone(), body), &state).await?;
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        // `middleware/host` and `middleware/csrf` have checked both headers.
        .disable_allowed_hosts()
        .with_max_request_body_bytes(MAX_BODY)
        .with_cancellation_token(state.shutdown.child_token());
    // rmcp runs a tool in a separate task.
    let handler = ToolHandler::new(ToolCaller { state, recorders, caller, grant, lang, span: Span::current() });
    let service =
        StreamableHttpService::new(move || Ok(handler.clone()), Arc::<NeverSessionManager>::default(), config);
    let mut response = service.handle(Request::from_parts(parts, Full::new(body))).await.map(Body::new);
    language::label(response.headers_mut(), lang);
    Ok(response)
}
