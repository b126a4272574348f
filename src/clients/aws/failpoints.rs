//! Fail points around each request to AWS, for all services: calls added later get them as well.

use aws_sdk_sts::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use crate::failpoints::reached;

#[derive(Debug)]
struct FailpointConnector(SharedHttpConnector);

impl HttpConnector for FailpointConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        // Such as `AWSEvents.PutRule`: every service that steps use sends the name of the call in this form.
        let target = request.headers().get("x-amz-target").unwrap_or("query").to_owned();
        let call = target.rsplit('.').next().unwrap_or_default().to_owned();
        let connector = self.0.clone();
        HttpConnectorFuture::new(async move {
            reached(&format!("aws {call}/before"));
            let answer = connector.call(request).await;
            reached(&format!("aws {call}/after"));
            answer
        })
    }
}

/// Wraps `client` with a fail point before and after each request.
pub(super) fn with_failpoints(client: SharedHttpClient) -> SharedHttpClient {
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(FailpointConnector(client.http_connector(settings, components)))
    })
}
