//! Encodes responses and errors in the format of each protocol.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use serde_json::json;
use uuid::Uuid;

use super::super::aws::error::AwsError;
use super::super::aws::service::AwsService;
use super::super::calls::xml;
use super::cbor;

pub fn success(service: AwsService, body: String) -> Response<Body> {
    build(StatusCode::OK, service.content_type(), encoded(service, body))
}

/// The body in the format of the service: CBOR in place of JSON.
fn encoded(service: AwsService, body: String) -> Vec<u8> {
    if service.is_cbor() { cbor::of_json(&serde_json::from_str(&body).unwrap_or_default()) } else { body.into_bytes() }
}

/// An error response. Query services spell some codes without `Exception`, and send XML.
pub fn failure(service: AwsService, error: &AwsError) -> Response<Body> {
    let body = match service {
        query if query.is_query() => xml::error_document(query, error),
        AwsService::SecretsManager => json!({"__type": error.code, "Message": error.message}).to_string(),
        _ => json!({"__type": error.code, "message": error.message}).to_string(),
    };
    build(error.status, service.content_type(), encoded(service, body))
}

/// A JSON response of a control call.
pub fn control(status: StatusCode, body: String) -> Response<Body> {
    build(status, "application/json", body.into_bytes())
}

fn build(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    if content_type == "application/cbor" {
        headers.insert("smithy-protocol", header::HeaderValue::from_static("rpc-v2-cbor"));
    }
    if let Ok(id) = header::HeaderValue::from_str(&Uuid::new_v4().to_string()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
