//! XML of the Query protocol, which STS, IAM and Elastic Load Balancing share.

use uuid::Uuid;

use crate::aws::error::AwsError;
use crate::aws::service::AwsService;

/// The XML namespace of a service's documents.
fn namespace(service: AwsService) -> &'static str {
    match service {
        AwsService::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
        AwsService::ElasticLoadBalancing => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
        _ => "https://sts.amazonaws.com/doc/2011-06-15/",
    }
}

/// Encodes an error as XML.
pub fn error_document(service: AwsService, error: &AwsError) -> String {
    let kind = if error.status.is_server_error() { "Receiver" } else { "Sender" };
    let inner = element("Type", kind) + &element("Code", &error.code) + &element("Message", &error.message);
    format!("<ErrorResponse xmlns=\"{}\"><Error>{inner}</Error>{}</ErrorResponse>", namespace(service), request_id())
}

/// Encodes the result of a call, which is XML already; empty for a call without a result.
pub fn document(service: AwsService, operation: &str, result: &str) -> String {
    let result =
        if result.is_empty() { String::new() } else { format!("<{operation}Result>{result}</{operation}Result>") };
    format!(
        "<{operation}Response xmlns=\"{}\">{result}<ResponseMetadata>{}</ResponseMetadata></{operation}Response>",
        namespace(service),
        request_id()
    )
}

fn request_id() -> String {
    element("RequestId", &Uuid::new_v4().to_string())
}

/// Encodes an element with its text escaped.
pub fn element(name: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<{name}>{text}</{name}>")
}
