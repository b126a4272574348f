//! `list_deployments`: a page of the list, as `GET /api/v1/deploy`.

use rmcp::model::JsonObject;
use serde_json::json;

use super::super::answer::ToolAnswer;
use super::super::arguments::read_query;
use super::super::caller::ToolCaller;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::routes::deploy;

const UNTRUSTED: &[&str] = &[
    "deployments[].branch",
    "deployments[].requested",
    "deployments[].commitAuthor",
    "deployments[].commitSubject",
    "deployments[].labels",
];

/// Lists a page of deployments.
pub async fn call(call: &ToolCaller, arguments: JsonObject) -> Result<ToolAnswer, ApiError> {
    let query = QueryParams(read_query(arguments)?);
    let page = deploy::list::handle(call.state(), call.role()?, query).await?.data;
    let next = page.next_cursor.as_ref().map(|cursor| json!({"cursor": cursor}));
    Ok(ToolAnswer::new(&json!({"deployments": page.deployments}), UNTRUSTED).next(next))
}
