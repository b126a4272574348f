//! Size limit for AWS responses: the SDK reads a whole response before it parses it.

use aws_sdk_sts::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// Maximum number of bytes of one response. The largest is a page of an execution's history: a hundred events of at most 256 KiB each.
const MAX_RESPONSE_BYTES: usize = 32 << 20;

#[derive(Debug)]
struct LimitedConnector(SharedHttpConnector);

impl HttpConnector for LimitedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.0.clone();
        HttpConnectorFuture::new(async move {
            let answer = connector.call(request).await?;
            Ok(answer.map(|body| SdkBody::from_body_1_x(Limited::new(body, MAX_RESPONSE_BYTES))))
        })
    }
}

/// Wraps `client` so that a response beyond the limit ends with an error.
pub(super) fn limit_responses(client: SharedHttpClient) -> SharedHttpClient {
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(LimitedConnector(client.http_connector(settings, components)))
    })
}
