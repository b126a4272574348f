//! The API as a client sees it: one method a call.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::{Host, Url};
use uuid::Uuid;

use super::error::{CliError, Problem};
use super::types::{Connections, Envelope, Report, Started};
use super::{clean, secret};
use crate::bounded::{self, BodyError};

/// Connecting asks GitHub or AWS before it answers.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The server sends something every 15 s; three missed ones are a dead connection.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);
/// An answer of the API is a few kilobytes; a list at most a few hundred.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Which server a command talks to.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// Address of the Panda server
    #[arg(long, env = "PANDA_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = server_url)]
    pub server: Url,
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
    /// File with the token to sign in with, as `panda token create` prints it; PANDA_TOKEN when absent
    #[arg(long, env = "PANDA_TOKEN_FILE", value_name = "FILE")]
    pub panda_token_file: Option<PathBuf>,
}

impl ServerArgs {
    /// A client of that server.
    pub fn api(&self) -> Result<Api, CliError> {
        let token = secret::read("--panda-token-file", self.panda_token_file.as_deref(), &["PANDA_TOKEN"])?;
        Api::new(&self.server, token.as_ref())
    }
}

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Api {
    base: Url,
    calls: Client,
    streams: Client,
}

impl Api {
    /// A client of the server at `base`, signed in with `token`; nothing is sent yet.
    pub fn new(base: &Url, token: Option<&SecretString>) -> Result<Self, CliError> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
            let mut value = value.map_err(|_| {
                CliError::input("PANDA_TOKEN", "this is no token: it has more than visible ASCII characters")
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let builder = || {
            let builder = Client::builder()
                .user_agent(concat!("panda/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_LIMIT)
                .default_headers(headers.clone())
                // A redirect would send tokens to an address that nobody gave.
                .redirect(reqwest::redirect::Policy::none());
            if is_loopback(base) { builder.no_proxy() } else { builder }
        };
        let failed = |error: reqwest::Error| CliError::input("--server", error.to_string());
        Ok(Self {
            base: base.clone(),
            calls: builder().timeout(ANSWER_LIMIT).build().map_err(failed)?,
            streams: builder().read_timeout(SILENCE_LIMIT).build().map_err(failed)?,
        })
    }

    /// The server's address, for messages.
    pub fn server(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// `POST /api/v1/connect/github` or `/aws`; the answer's data.
    pub async fn connect(&self, what: &str, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["connect", what])?.json(body)).await
    }

    /// `PUT /api/v1/connect/github/{id}` or `/aws/{id}`; the answer's data.
    pub async fn renew_connection(&self, what: &str, id: &str, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::PUT, &["connect", what, id])?.json(body)).await
    }

    /// `GET /api/v1/connections`.
    pub async fn connections(&self) -> Result<(Connections, Value), CliError> {
        let data = self.call(self.request(Method::GET, &["connections"])?).await?;
        Ok((self.read(&data)?, data))
    }

    /// `POST /api/v1/deploy`. Sent again with the same idempotency key when the connection breaks, so that it starts one deployment
    /// however often it is sent.
    pub async fn deploy(&self, body: &Value) -> Result<(Started, Value), CliError> {
        let data = self.post_once(&["deploy"], body).await?;
        Ok((self.read(&data)?, data))
    }

    /// `POST /api/v1/deploy/{id}/switch`; the answer's data.
    pub async fn switch(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["deploy", id, "switch"])?.json(&json!({}))).await
    }

    /// `POST /api/v1/deploy/{id}/cancel`; the answer's data.
    pub async fn cancel(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["deploy", id, "cancel"])?.json(&json!({}))).await
    }

    /// `POST /api/v1/deploy/{id}/retry`; the answer's data.
    pub async fn retry(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["deploy", id, "retry"])?.json(&json!({}))).await
    }

    /// `GET /api/v1/deploy/{id}/result`; the answer's data.
    pub async fn result(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["deploy", id, "result"])?).await
    }

    /// `GET /api/v1/deploy/current`; the answer's data.
    pub async fn current(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["deploy", "current"])?).await
    }

    /// `GET /api/v1/deploy` with its filters; the answer's data.
    pub async fn list(&self, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["deploy"])?.query(query)).await
    }

    /// `POST /api/v1/schedules`, sent again as [`Api::deploy`] is; the answer's data.
    pub async fn create_schedule(&self, body: &Value) -> Result<Value, CliError> {
        self.post_once(&["schedules"], body).await
    }

    /// `POST /api/v1/schedules/{id}/run`, sent again as [`Api::deploy`] is; the answer's data.
    pub async fn run_schedule(&self, id: &str) -> Result<Value, CliError> {
        self.post_once(&["schedules", id, "run"], &json!({})).await
    }

    /// `PATCH /api/v1/schedules/{id}`; the answer's data.
    pub async fn change_schedule(&self, id: &str, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::PATCH, &["schedules", id])?.json(body)).await
    }

    /// `DELETE /api/v1/schedules/{id}`; the answer's data.
    pub async fn delete_schedule(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["schedules", id])?).await
    }

    /// `GET /api/v1/schedules/{id}`; the answer's data.
    pub async fn schedule(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["schedules", id])?).await
    }

    /// `GET /api/v1/schedules` with its filters; the answer's data.
    pub async fn schedules(&self, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["schedules"])?.query(query)).await
    }

    /// `GET /api/v1/schedules/{id}/runs` with its filters; the answer's data.
    pub async fn schedule_runs(&self, id: &str, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["schedules", id, "runs"])?.query(query)).await
    }

    /// `DELETE /api/v1/connections/{id}`; the answer's data.
    pub async fn remove_connection(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["connections", id])?).await
    }

    /// `GET /api/v1/connect/github/{id}/secrets`; the answer's data.
    pub async fn build_secrets(&self, connection: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["connect", "github", connection, "secrets"])?).await
    }

    /// `PUT /api/v1/connect/github/{id}/secrets/{name}`; the answer's data.
    pub async fn set_build_secret(
        &self,
        connection: &str,
        name: &str,
        value: &SecretString,
    ) -> Result<Value, CliError> {
        let request = self.request(Method::PUT, &["connect", "github", connection, "secrets", name])?;
        self.call(request.json(&json!({"value": value.expose_secret()}))).await
    }

    /// `DELETE /api/v1/connect/github/{id}/secrets/{name}`; the answer's data.
    pub async fn remove_build_secret(&self, connection: &str, name: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["connect", "github", connection, "secrets", name])?).await
    }

    /// `GET /api/v1/audit` with its filters; the answer's data.
    pub async fn audit(&self, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["audit"])?.query(query)).await
    }

    /// `GET /api/v1/reports`; the answer's data.
    pub async fn reports(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["reports"])?).await
    }

    /// `GET /api/v1/reports/{name}` with its filters.
    pub async fn report(&self, name: &str, query: &[(&str, String)]) -> Result<(Report, Value), CliError> {
        let data = self.call(self.request(Method::GET, &["reports", name])?.query(query)).await?;
        Ok((self.read(&data)?, data))
    }

    /// `GET /api/v1/maintenance`; the answer's data.
    pub async fn maintenance(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["maintenance"])?).await
    }

    /// `GET /api/v1/maintenance/runs` with its filters; the answer's data.
    pub async fn maintenance_runs(&self, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["maintenance", "runs"])?.query(query)).await
    }

    /// `GET /api/v1/log`; the answer's data.
    pub async fn log(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["log"])?).await
    }

    /// `PUT /api/v1/log`; the answer's data.
    pub async fn set_log(&self, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::PUT, &["log"])?.json(body)).await
    }

    /// `DELETE /api/v1/log`; the answer's data.
    pub async fn reset_log(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["log"])?).await
    }

    /// `POST /api/v1/maintenance/runs`; the answer's data.
    pub async fn start_maintenance(&self, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["maintenance", "runs"])?.json(body)).await
    }

    /// `GET /api/v1/deploy/{id}/events`: the open stream, `None` when the server says that nothing more will come.
    pub async fn events(&self, id: &str, lang: &str, last: Option<&str>) -> Result<Option<Response>, CliError> {
        let url = self.url(&["deploy", id, "events"])?;
        let mut request = self.streams.get(url).query(&[("lang", lang)]).header("Accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        match answer.status().as_u16() {
            204 => Ok(None),
            200 if media_type(&answer) == "text/event-stream" => Ok(Some(answer)),
            200 => Err(self.protocol(&format!("{} instead of an event stream", media_type(&answer)))),
            _ => Err(self.problem(answer).await),
        }
    }

    /// `GET /readyz`: whether the server says that it can work.
    pub async fn is_ready(&self) -> bool {
        let mut url = self.base.clone();
        url.set_path("/readyz");
        self.calls.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// `data` as a type of ours.
    pub fn read<T: serde::de::DeserializeOwned>(&self, data: &Value) -> Result<T, CliError> {
        T::deserialize(data).map_err(|error| self.protocol(&error.to_string()))
    }

    fn url(&self, path: &[&str]) -> Result<Url, CliError> {
        let mut url = self.base.clone();
        // Each part is escaped: an id with a slash stays one part.
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(["api", "v1"]).extend(path);
            }
            Err(()) => return Err(CliError::input("--server", "this address cannot have a path")),
        }
        Ok(url)
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, CliError> {
        Ok(self.calls.request(method, self.url(path)?))
    }

    /// A `POST` that has its effect once, though it may be sent twice.
    async fn post_once(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
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

    async fn call(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        if !answer.status().is_success() {
            return Err(self.problem(answer).await);
        }
        let body = self.body(answer).await?;
        let envelope: Envelope = serde_json::from_slice(&body).map_err(|error| self.protocol(&error.to_string()))?;
        Ok(envelope.data)
    }

    async fn problem(&self, answer: Response) -> CliError {
        let status = answer.status();
        if status.is_redirection() {
            let to = answer.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or("another address");
            return self.protocol(&format!("it redirects to {}: give that address", clean::line(to)));
        }
        match self.body(answer).await.map(|body| serde_json::from_slice::<Problem>(&body)) {
            Ok(Ok(problem)) => CliError::Refused(Box::new(problem)),
            Ok(Err(_)) => self.protocol(&format!("HTTP {status} without a reason in JSON")),
            Err(error) => error,
        }
    }

    async fn body(&self, answer: Response) -> Result<Vec<u8>, CliError> {
        bounded::body(answer, MAX_ANSWER_BYTES).await.map_err(|error| match error {
            BodyError::TooLong(_) => self.protocol("its answer is far too long"),
            BodyError::Broken(error) => self.unreachable(&error),
        })
    }

    /// The answer makes no sense.
    pub fn protocol(&self, reason: &str) -> CliError {
        CliError::Protocol { server: self.server(), reason: clean::line(reason) }
    }

    /// There is no answer. The innermost reason is the one that helps ("connection refused"); the outer ones repeat the address.
    pub fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> CliError {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        CliError::Unreachable { server: self.server(), reason: clean::line(&innermost.to_string()) }
    }
}

fn media_type(answer: &Response) -> String {
    let value = answer.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("no type");
    clean::line(value.split(';').next().unwrap_or_default().trim()).to_ascii_lowercase()
}

/// A proxy cannot reach this machine's own loopback address.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn server_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; give an address such as http://127.0.0.1:8080"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("give an address that begins with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("give the address alone, without user, password or query".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        let api = Api::new(&server_url("http://127.0.0.1:1/panda/").unwrap(), None).unwrap();
        assert_eq!(
            api.url(&["deploy", "../x?y", "switch"]).unwrap().as_str(),
            "http://127.0.0.1:1/panda/api/v1/deploy/..%2Fx%3Fy/switch"
        );
    }

    #[test]
    fn a_server_address_holds_no_password() {
        assert!(server_url("http://user:secret@host").unwrap_err().contains("without user"));
        assert!(server_url("ftp://host").unwrap_err().contains("http://"));
        assert!(server_url("127.0.0.1:8080").is_err());
    }
}
