//! Requests to the API and the reading of its answers, for every endpoint alike.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::Api;
use crate::bounded::{self, BodyError};
use crate::cli::error::{ApiProblem, CliError};
use crate::cli::sanitize;
use crate::cli::types::ApiEnvelope;
use crate::domain::message::{Message, Param, message};

/// A response of the API has a few kilobytes; a list at most a few hundred.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

impl Api {
    pub(super) fn url(&self, path: &[&str]) -> Result<Url, CliError> {
        let mut url = self.base.clone();
        // Each segment is escaped: an id with a slash stays one segment.
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(["api", "v1"]).extend(path);
            }
            Err(()) => return Err(CliError::input("--server", message!("cli.server_with_path"))),
        }
        Ok(url)
    }

    pub(super) fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, CliError> {
        Ok(self.calls.request(method, self.url(path)?))
    }

    /// Sends a `POST` with an idempotency key: it takes effect once, though it may be sent twice.
    pub(super) async fn post_once(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        let key = Uuid::new_v4().to_string();
        let send = || async {
            let request = self.request(Method::POST, path)?.header("Idempotency-Key", &key);
            self.call(request.json(body)).await
        };
        match send().await {
            Err(CliError::Unreachable { .. }) => send().await,
            other => other,
        }
    }

    pub(super) async fn call(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        if !answer.status().is_success() {
            return Err(self.problem(answer).await);
        }
        let body = self.body(answer).await?;
        let envelope: ApiEnvelope = serde_json::from_slice(&body).map_err(|error| self.protocol(outside(&error)))?;
        Ok(envelope.data)
    }

    pub(super) async fn problem(&self, answer: Response) -> CliError {
        let status = answer.status();
        if status.is_redirection() {
            let to = answer.headers().get("location").and_then(|to| to.to_str().ok()).map(sanitize::line);
            let to = to.map_or_else(|| message!("cli.redirects_elsewhere").into(), Param::from);
            return self.protocol(message!("cli.redirects", to));
        }
        let request_id = answer.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        match self.body(answer).await.map(|body| serde_json::from_slice::<ApiProblem>(&body)) {
            Ok(Ok(problem)) => CliError::Refused(Box::new(ApiProblem { request_id, ..problem })),
            Ok(Err(_)) => self.protocol(message!("cli.no_problem", status = status.to_string())),
            Err(error) => error,
        }
    }

    async fn body(&self, answer: Response) -> Result<Vec<u8>, CliError> {
        bounded::body(answer, MAX_ANSWER_BYTES).await.map_err(|error| match error {
            BodyError::TooLong(_) => self.protocol(message!("cli.response_too_long")),
            BodyError::Broken(error) => self.unreachable(&error),
        })
    }

    /// The error for a response that Panda would not send.
    pub fn protocol(&self, reason: Message) -> CliError {
        CliError::Protocol { server: self.server(), reason }
    }

    /// The error for a missing response. Keeps only the innermost cause ("connection refused"): the outer ones repeat the address.
    pub fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> CliError {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        CliError::Unreachable { server: self.server(), reason: sanitize::line(&innermost.to_string()) }
    }
}

/// A text of a library, as one safe line.
pub(super) fn outside(error: &dyn std::fmt::Display) -> Message {
    Message::verbatim(sanitize::line(&error.to_string()))
}

pub(super) fn media_type(answer: &Response) -> String {
    let value = answer.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("no type");
    sanitize::line(value.split(';').next().unwrap_or_default().trim()).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::server_url::server_url;

    #[test]
    fn escapes_ids_in_paths() {
        let api = Api::new(&server_url("http://127.0.0.1:1/panda/").unwrap(), None, None).unwrap();
        assert_eq!(
            api.url(&["deploy", "../x?y", "switch"]).unwrap().as_str(),
            "http://127.0.0.1:1/panda/api/v1/deploy/..%2Fx%3Fy/switch"
        );
    }
}
