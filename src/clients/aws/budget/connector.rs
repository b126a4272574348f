//! Takes a token before each request, retries of the SDK included.

use std::time::Duration;

use aws_sdk_sts::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;

use super::context::{priority, use_prepaid};
use super::{Priority, Scope};

/// A request found no token in time. The step repeats it later, as if AWS had throttled it.
#[derive(Debug, thiserror::Error)]
#[error("the account's quota of {call} calls is used up, no call was possible within {} s", .after.as_secs_f64())]
pub(in crate::clients::aws) struct BudgetExhausted {
    call: String,
    after: Duration,
}

#[derive(Debug)]
struct BudgetConnector {
    inner: SharedHttpConnector,
    scope: Scope,
    patience: Duration,
}

impl HttpConnector for BudgetConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, call) = (self.inner.clone(), name(&request));
        if use_prepaid() {
            return inner.call(request);
        }
        let (scope, patience) = (self.scope.clone(), self.patience);
        HttpConnectorFuture::new(async move {
            if let Some(call) = call {
                // A poll that has begun ends before others begin.
                let priority = priority().min(Priority::Normal);
                let token = tokio::time::timeout(patience, scope.acquire(&call, priority)).await;
                token.map_err(|_| ConnectorError::user(Box::new(BudgetExhausted { call, after: patience })))?;
            }
            inner.call(request).await
        })
    }
}

/// Wraps `client` so that its requests take tokens of `scope`, for which they wait for at most `patience`.
pub(in crate::clients::aws) fn limit(client: SharedHttpClient, scope: Scope, patience: Duration) -> SharedHttpClient {
    http_client_fn(move |settings, components| {
        let inner = client.http_connector(settings, components);
        SharedHttpConnector::new(BudgetConnector { inner, scope: scope.clone(), patience })
    })
}

/// Returns the call's name as in IAM permissions; none for requests of other forms, such as to the machine's metadata service.
fn name(request: &HttpRequest) -> Option<String> {
    if let Some(target) = request.headers().get("x-amz-target") {
        let (service, call) = target.split_once('.')?;
        let service = match service.split('_').next()? {
            "AWSStepFunctions" => "states",
            "CodeDeploy" => "codedeploy",
            "AmazonEC2ContainerRegistry" => "ecr",
            "AmazonEC2ContainerServiceV20141113" => "ecs",
            "AWSEvents" => "events",
            "secretsmanager" => "secretsmanager",
            "TrentService" => "kms",
            "AmazonSQS" => "sqs",
            _ => return None,
        };
        return Some(format!("{service}:{call}"));
    }
    // Smithy RPC v2: `/service/NAME/operation/CALL`.
    if let Some(path) = request.uri().split_once("/service/").map(|(_, path)| path)
        && let Some((service, call)) = path.split_once("/operation/")
    {
        return (service == "GraniteServiceVersion20100801").then(|| format!("cloudwatch:{call}"));
    }
    // The query protocol: `Action=AssumeRole&Version=2011-06-15&…`.
    let body = std::str::from_utf8(request.body().bytes()?).ok()?;
    let mut parts = body.split('&');
    let call = parts.next()?.strip_prefix("Action=")?;
    let service = match parts.next()? {
        "Version=2011-06-15" => "sts",
        "Version=2010-05-08" => "iam",
        "Version=2015-12-01" => "elasticloadbalancing",
        _ => return None,
    };
    Some(format!("{service}:{call}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::body::SdkBody;

    fn of_target(target: &'static str) -> Option<String> {
        let mut request = HttpRequest::new(SdkBody::empty());
        request.headers_mut().insert("x-amz-target", target);
        name(&request)
    }

    #[test]
    fn names_calls_as_iam_does() {
        assert_eq!(of_target("AWSStepFunctions.GetExecutionHistory").as_deref(), Some("states:GetExecutionHistory"));
        assert_eq!(of_target("CodeDeploy_20141006.GetDeployment").as_deref(), Some("codedeploy:GetDeployment"));
        let ecr = of_target("AmazonEC2ContainerRegistry_V20150921.PutImage");
        assert_eq!(ecr.as_deref(), Some("ecr:PutImage"));
        assert_eq!(of_target("DynamoDB_20120810.GetItem"), None);
        let query = |body: &'static str| name(&HttpRequest::new(SdkBody::from(body)));
        assert_eq!(query("Action=AssumeRole&Version=2011-06-15&RoleArn=x").as_deref(), Some("sts:AssumeRole"));
        assert_eq!(query("Action=CreateRole&Version=2010-05-08").as_deref(), Some("iam:CreateRole"));
        let rules = query("Action=DescribeRules&Version=2015-12-01&ListenerArn=x");
        assert_eq!(rules.as_deref(), Some("elasticloadbalancing:DescribeRules"));
        assert_eq!(query(""), None);
        let of_path = |path: &str| {
            let mut request = HttpRequest::new(SdkBody::empty());
            request.set_uri(format!("https://monitoring.eu-west-1.amazonaws.com{path}")).unwrap();
            name(&request)
        };
        let alarms = of_path("/service/GraniteServiceVersion20100801/operation/DescribeAlarms");
        assert_eq!(alarms.as_deref(), Some("cloudwatch:DescribeAlarms"));
        assert_eq!(of_path("/service/Other/operation/DescribeAlarms"), None);
    }
}
