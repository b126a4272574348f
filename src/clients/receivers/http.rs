//! Requests to chats: guarded as those to webhooks, with a bounded answer.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use crate::bounded;
use crate::clients::ClientError;
use crate::clients::ssrf_guard::GuardedClient;
use crate::clients::webhook::retry_after;
use crate::domain::destination::Destinations;
use crate::domain::receiver::attempt::AttemptAnswer;
use crate::domain::text;

/// Time limit of a request, connecting and the answer included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Connections that are kept to each chat.
const IDLE: usize = 4;

/// Longest stored error, in characters.
const MAX_ERROR_CHARS: usize = 500;

/// Client of all chats, with guarded connections.
#[derive(Clone, Debug)]
pub(super) struct ChatHttp {
    http: GuardedClient,
}

/// Status and body, whatever the chat answered.
pub(super) struct ChatAnswer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// Body as JSON; null where it is something else.
    pub(super) body: Value,
}

impl ChatAnswer {
    /// The attempt's result by the status alone.
    pub(super) fn of_status(&self) -> AttemptAnswer {
        AttemptAnswer::of_status(self.status, self.retry_after)
    }
}

/// Method and body of a request.
pub(super) enum ChatRequest {
    Get,
    Post(Bytes),
    Patch(Bytes),
}

impl ChatHttp {
    pub(super) fn new(destinations: Destinations) -> Result<Self, ClientError> {
        Ok(Self { http: GuardedClient::keeping_connections("chat delivery", TIMEOUT, destinations, IDLE)? })
    }

    /// Sends a request, with a token where one is given.
    ///
    /// # Errors
    /// There is no answer: the attempt failed.
    pub(super) async fn send(
        &self,
        url: Url,
        token: Option<&SecretString>,
        request: ChatRequest,
    ) -> Result<ChatAnswer, AttemptAnswer> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                .map_err(|_| AttemptAnswer::failed("the token has characters that no header may have"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let sent = match request {
            ChatRequest::Get => self.http.get(url, headers).await,
            ChatRequest::Post(body) => self.http.post(url, headers, body).await,
            ChatRequest::Patch(body) => self.http.patch(url, headers, body).await,
        };
        let failed = |error: ClientError| AttemptAnswer::failed(text::cut(&error.message, MAX_ERROR_CHARS));
        let answer: Response = sent.map_err(failed)?;
        let (status, retry_after) = (answer.status().as_u16(), retry_after(answer.headers()));
        // A body that cannot be read leaves the status, which decides where the chat has no other answer.
        let body = bounded::body(answer, MAX_ANSWER_BYTES).await.ok();
        let body = body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
        Ok(ChatAnswer { status, retry_after, body })
    }
}
