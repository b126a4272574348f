//! Answers of AWS through a limit: the SDK reads an answer whole before it looks at it.

use aws_sdk_sts::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// Most bytes of one answer. The largest is a page of an execution's history: a hundred events of 256 KiB each at most.
const MOST: usize = 32 << 20;

#[derive(Debug)]
struct Bounded(SharedHttpConnector);

impl HttpConnector for Bounded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.0.clone();
        HttpConnectorFuture::new(async move {
            let answer = connector.call(request).await?;
            Ok(answer.map(|body| SdkBody::from_body_1_x(Limited::new(body, MOST))))
        })
    }
}

/// `client`, whose answers are cut off with an error at the limit.
pub(super) fn bounded(client: SharedHttpClient) -> SharedHttpClient {
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(Bounded(client.http_connector(settings, components)))
    })
}
