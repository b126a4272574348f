//! Which call a request is.

use axum::http::HeaderMap;
use bytes::Bytes;

/// A service, by the prefix of its `X-Amz-Target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Sts,
    Events,
    Ecr,
    SecretsManager,
    StepFunctions,
    CodeDeploy,
}

impl Service {
    fn of_target(prefix: &str) -> Option<Self> {
        Some(match prefix {
            "AWSEvents" => Self::Events,
            "AmazonEC2ContainerRegistry_V20150921" => Self::Ecr,
            "secretsmanager" => Self::SecretsManager,
            "AWSStepFunctions" => Self::StepFunctions,
            "CodeDeploy_20141006" => Self::CodeDeploy,
            _ => return None,
        })
    }

    /// The prefix that IAM uses for the service's calls.
    pub fn iam_prefix(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Events => "events",
            Self::Ecr => "ecr",
            Self::SecretsManager => "secretsmanager",
            Self::StepFunctions => "states",
            Self::CodeDeploy => "codedeploy",
        }
    }

    /// The content type of the service's answers.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Sts => "text/xml",
            Self::StepFunctions => "application/x-amz-json-1.0",
            _ => "application/x-amz-json-1.1",
        }
    }
}

/// One call, still in its own protocol.
#[derive(Debug)]
pub struct Call {
    pub service: Service,
    pub operation: String,
    pub body: Bytes,
}

impl Call {
    /// The call that headers and body make, or `None` when they make none that any service here would know.
    pub fn parse(headers: &HeaderMap, body: Bytes) -> Option<Self> {
        if let Some(target) = headers.get("x-amz-target") {
            let (prefix, operation) = target.to_str().ok()?.split_once('.')?;
            return Some(Self { service: Service::of_target(prefix)?, operation: operation.to_owned(), body });
        }
        let operation = url::form_urlencoded::parse(&body).find(|(name, _)| name == "Action")?.1.into_owned();
        Some(Self { service: Service::Sts, operation, body })
    }

    /// The call in IAM's spelling.
    pub fn name(&self) -> String {
        format!("{}:{}", self.service.iam_prefix(), self.operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_calls_are_known_by_their_target_and_query_calls_by_their_action() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-target", "AWSStepFunctions.GetExecutionHistory".parse().unwrap());
        assert_eq!(Call::parse(&headers, Bytes::new()).unwrap().name(), "states:GetExecutionHistory");
        let form = Bytes::from_static(b"Action=GetCallerIdentity&Version=2011-06-15");
        assert_eq!(Call::parse(&HeaderMap::new(), form).unwrap().name(), "sts:GetCallerIdentity");
        headers.insert("x-amz-target", "DynamoDB_20120810.GetItem".parse().unwrap());
        assert!(Call::parse(&headers, Bytes::new()).is_none());
    }
}
