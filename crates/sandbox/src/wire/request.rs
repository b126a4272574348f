//! Decodes a request into the call of a service.

use axum::http::HeaderMap;
use bytes::Bytes;

use super::cbor;
use crate::aws::service::AwsService;

/// One call, with its body in the protocol of the service; JSON where that is CBOR.
#[derive(Debug)]
pub struct Call {
    pub service: AwsService,
    pub operation: String,
    pub body: Bytes,
}

impl Call {
    /// Decodes the call from headers and body; `None` if no service of the sandbox would know it.
    pub fn parse(path: &str, headers: &HeaderMap, body: Bytes) -> Option<Self> {
        if let Some((service, operation)) =
            path.strip_prefix("/service/").and_then(|rest| rest.split_once("/operation/"))
        {
            let body = Bytes::from(cbor::to_json(&body)?);
            return Some(Self { service: AwsService::of_path(service)?, operation: operation.to_owned(), body });
        }
        if let Some(target) = headers.get("x-amz-target") {
            let (prefix, operation) = target.to_str().ok()?.split_once('.')?;
            return Some(Self { service: AwsService::of_target(prefix)?, operation: operation.to_owned(), body });
        }
        let operation = url::form_urlencoded::parse(&body).find(|(name, _)| name == "Action")?.1.into_owned();
        let version =
            url::form_urlencoded::parse(&body).find(|(name, _)| name == "Version").map(|(_, version)| version);
        let service = AwsService::of_version(version.as_deref());
        Some(Self { service, operation, body })
    }

    /// Name of the call in IAM's spelling, such as `states:GetExecutionHistory`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.service.iam_prefix(), self.operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_json_and_query_calls() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-target", "AWSStepFunctions.GetExecutionHistory".parse().unwrap());
        assert_eq!(Call::parse("/", &headers, Bytes::new()).unwrap().name(), "states:GetExecutionHistory");
        let form = Bytes::from_static(b"Action=GetCallerIdentity&Version=2011-06-15");
        assert_eq!(Call::parse("/", &HeaderMap::new(), form).unwrap().name(), "sts:GetCallerIdentity");
        let form = Bytes::from_static(b"Action=GetRole&Version=2010-05-08&RoleName=x");
        assert_eq!(Call::parse("/", &HeaderMap::new(), form).unwrap().name(), "iam:GetRole");
        let form = Bytes::from_static(b"Action=DescribeRules&Version=2015-12-01&ListenerArn=x");
        assert_eq!(Call::parse("/", &HeaderMap::new(), form).unwrap().name(), "elasticloadbalancing:DescribeRules");
        let body = Bytes::from(cbor::of_json(&serde_json::json!({"AlarmNames": ["errors"]})));
        let path = "/service/GraniteServiceVersion20100801/operation/DescribeAlarms";
        let call = Call::parse(path, &HeaderMap::new(), body).unwrap();
        assert_eq!(
            (call.name().as_str(), &call.body[..]),
            ("cloudwatch:DescribeAlarms", &br#"{"AlarmNames":["errors"]}"#[..])
        );
        assert!(Call::parse(path, &HeaderMap::new(), Bytes::from_static(b"\xff")).is_none());
        headers.insert("x-amz-target", "DynamoDB_20120810.GetItem".parse().unwrap());
        assert!(Call::parse("/", &headers, Bytes::new()).is_none());
    }
}
