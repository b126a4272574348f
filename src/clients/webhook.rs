//! Sends one event to a receiver of webhooks: guarded like a health check, without redirects, with limits of time and size.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use url::Url;

use super::{ClientError, ssrf_guard::GuardedClient};
use crate::bounded;
use crate::domain::destination::Destinations;
use crate::domain::receiver::attempt::AttemptAnswer;
use crate::domain::text;
use crate::domain::webhook::signing::{SigningKey, signatures};
use crate::failpoints::around;

const CALL: &str = "webhook delivery";

/// Time limit of an attempt, connecting included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of a body that are read so that its connection can be used again. Its content does not matter.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Time for reading them; then the connection is closed.
const BODY_TIMEOUT: Duration = Duration::from_millis(500);

/// Connections that are kept to each receiver.
const IDLE: usize = 32;

/// Longest stored error, in characters.
const MAX_ERROR_CHARS: usize = 500;

/// Client of the receivers of webhooks.
#[derive(Clone, Debug)]
pub struct WebhookClient {
    http: GuardedClient,
}

/// A request to a receiver.
#[derive(Clone, Debug)]
pub struct WebhookRequest<'a> {
    /// Address of the receiver.
    pub url: &'a Url,
    /// Id by which the receiver recognises repetitions.
    pub id: &'a str,
    /// Present time, by the database's clock.
    pub now: DateTime<Utc>,
    /// Secrets that sign the request, the newest first.
    pub keys: &'a [SigningKey],
    /// Body of the request, as JSON.
    pub body: Bytes,
}

impl WebhookClient {
    /// Creates a client that sends only to allowed `destinations`. Fails only if TLS cannot be set up.
    pub fn new(destinations: Destinations) -> Result<Self, ClientError> {
        Ok(Self { http: GuardedClient::keeping_connections(CALL, TIMEOUT, destinations, IDLE)? })
    }

    /// Sends the request. Any outcome is an answer.
    pub async fn send(&self, request: WebhookRequest<'_>) -> AttemptAnswer {
        let headers = headers(&request);
        let sent = around(CALL, self.http.post(request.url.clone(), headers, request.body)).await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => return AttemptAnswer::failed(text::cut(&error.message, MAX_ERROR_CHARS)),
        };
        let (status, retry_after) = (answer.status().as_u16(), retry_after(answer.headers()));
        // The status decides; a body that is too long, slow or broken costs its connection.
        let _ = tokio::time::timeout(BODY_TIMEOUT, bounded::body(answer, MAX_BODY_BYTES)).await;
        AttemptAnswer::of_status(status, retry_after)
    }
}

fn headers(request: &WebhookRequest<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let signature = signatures(request.keys, request.id, request.now, &request.body);
    let values = [
        ("webhook-id", request.id.to_owned()),
        ("webhook-timestamp", request.now.timestamp().to_string()),
        ("webhook-signature", signature),
    ];
    for (name, value) in values {
        // Ids, numbers and base64 are valid values.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// Reads the form in seconds. The form with a date is ignored, because clocks of machines are never compared.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
