//! Fail points around each request to AWS, whatever the service: a call that is added later has them too.

use aws_sdk_sts::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use crate::failpoints::reached;

#[derive(Debug)]
struct Watched(SharedHttpConnector);

impl HttpConnector for Watched {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        // `AWSEvents.PutRule`: every service that steps use names its call so.
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

/// `client`, with a point before and after each request.
pub(super) fn watched(client: SharedHttpClient) -> SharedHttpClient {
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(Watched(client.http_connector(settings, components)))
    })
}
