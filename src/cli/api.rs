//! Client of Panda's HTTP API: one method per endpoint.

mod channels;
mod github_apps;
mod hooks;
mod transport;
mod webhooks;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::header::{ACCEPT_LANGUAGE, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::Url;

use self::transport::{media_type, outside};
use super::error::CliError;
use super::server_url::{DEFAULT_SERVER, is_loopback, server_url};
use super::types::{ListedConnections, Report, StartedDeployment, StartedRollback};
use super::{lang, secret};
use crate::domain::lang::Lang;
use crate::domain::message::{Message, message};

/// Connecting calls GitHub or AWS before it answers.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The server ends a check by itself, a second earlier.
const CHECK_LIMIT: Duration = Duration::from_secs(5);
/// The server sends a keep-alive every 15 s; three missed ones mean a dead connection.
const STREAM_READ_LIMIT: Duration = Duration::from_secs(45);

/// Address of the server, and the options that each client command has.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// Address of the Panda server
    #[arg(long, env = "PANDA_SERVER", value_name = "URL", default_value = DEFAULT_SERVER, value_parser = server_url)]
    pub server: Url,
    /// Print the output as JSON
    #[arg(long)]
    pub json: bool,
    /// File with the API token, as `panda token create` prints it; PANDA_TOKEN when absent
    #[arg(long, env = "PANDA_TOKEN_FILE", value_name = "FILE")]
    pub panda_token_file: Option<PathBuf>,
}

impl ServerArgs {
    /// Builds a client of this server, and reads the token.
    pub fn api(&self) -> Result<Api, CliError> {
        let token = secret::read("--panda-token-file", self.panda_token_file.as_deref(), &["PANDA_TOKEN"])?;
        // The output with --json does not depend on the terminal, only on an explicit choice.
        let lang = if self.json { lang::given() } else { Some(lang::lang()) };
        Api::new(&self.server, token.as_ref(), lang)
    }
}

#[derive(Clone, Debug)]
pub struct Api {
    base: Url,
    calls: Client,
    streams: Client,
}

impl Api {
    /// Builds a client of the server at `base` that signs in with `token` and requests texts in `lang`. Sends nothing yet.
    pub fn new(base: &Url, token: Option<&SecretString>, lang: Option<Lang>) -> Result<Self, CliError> {
        let mut headers = HeaderMap::new();
        headers.extend(lang.map(|lang| (ACCEPT_LANGUAGE, HeaderValue::from_static(lang.as_str()))));
        if let Some(token) = token {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
            let mut value = value.map_err(|_| CliError::input("PANDA_TOKEN", message!("cli.no_token")))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let builder = || {
            let builder = Client::builder()
                .user_agent(concat!("panda/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_LIMIT)
                .default_headers(headers.clone())
                // A redirect would send tokens to an address that the user did not give.
                .redirect(reqwest::redirect::Policy::none());
            if is_loopback(base) { builder.no_proxy() } else { builder }
        };
        let failed = |error: reqwest::Error| CliError::input("--server", Message::verbatim(error.to_string()));
        Ok(Self {
            base: base.clone(),
            calls: builder().timeout(ANSWER_LIMIT).build().map_err(failed)?,
            streams: builder().read_timeout(STREAM_READ_LIMIT).build().map_err(failed)?,
        })
    }

    /// The server's address without a trailing slash, for messages.
    pub fn server(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// `POST /api/v1/connect/github` or `/aws`; the response's data.
    pub async fn connect(&self, kind: &str, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["connect", kind])?.json(body)).await
    }

    /// `PUT /api/v1/connect/github/{id}` or `/aws/{id}`; the response's data.
    pub async fn renew_connection(&self, kind: &str, id: &str, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::PUT, &["connect", kind, id])?.json(body)).await
    }

    /// `POST /api/v1/connect/aws/{id}/check`; the response's data.
    pub async fn check_connection(&self, id: &str, github: &str) -> Result<Value, CliError> {
        let request = self.request(Method::POST, &["connect", "aws", id, "check"])?;
        self.call(request.query(&[("githubConnectionId", github)]).timeout(CHECK_LIMIT)).await
    }

    /// `GET /api/v1/connect/aws/{id}/rule-role`; the response's data.
    pub async fn rule_role(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["connect", "aws", id, "rule-role"])?).await
    }

    /// `POST /api/v1/connect/aws/{id}/rule-role`; the response's data.
    pub async fn create_rule_role(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["connect", "aws", id, "rule-role"])?).await
    }

    /// `GET /api/v1/connections`, parsed and as JSON.
    pub async fn connections(&self) -> Result<(ListedConnections, Value), CliError> {
        let data = self.call(self.request(Method::GET, &["connections"])?).await?;
        Ok((self.read(&data)?, data))
    }

    /// `POST /api/v1/deploy`. Sent again with the same idempotency key when the connection breaks, so that it starts one deployment
    /// however often it is sent.
    pub async fn deploy(&self, body: &Value) -> Result<(StartedDeployment, Value), CliError> {
        let data = self.post_once(&["deploy"], body).await?;
        Ok((self.read(&data)?, data))
    }

    /// `POST /api/v1/deploy/{id}/switch` on these terms; the response's data.
    pub async fn switch(&self, id: &str, terms: SwitchOptions<'_>) -> Result<Value, CliError> {
        let mut body = overriding(terms.freeze_override);
        for (name, value) in [("imageDigest", terms.image_digest), ("pause", terms.pause)] {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        self.call(self.request(Method::POST, &["deploy", id, "switch"])?.json(&body)).await
    }

    /// `POST /api/v1/deploy/{id}/cancel`; the response's data.
    pub async fn cancel(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["deploy", id, "cancel"])?.json(&json!({}))).await
    }

    /// `POST /api/v1/deploy/{id}/retry`, with the reason to override a freeze; the response's data.
    pub async fn retry(&self, id: &str, freeze_override: Option<&str>) -> Result<Value, CliError> {
        let body = overriding(freeze_override);
        self.call(self.request(Method::POST, &["deploy", id, "retry"])?.json(&body)).await
    }

    /// `POST /api/v1/deploy/{id}/rollback`, sent again as [`Api::deploy`] is.
    pub async fn rollback(&self, id: &str, body: &Value) -> Result<(StartedRollback, Value), CliError> {
        let data = self.post_once(&["deploy", id, "rollback"], body).await?;
        Ok((self.read(&data)?, data))
    }

    /// `PUT /api/v1/deploy/{id}/outcome`; the response's data.
    pub async fn mark_outcome(&self, id: &str, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::PUT, &["deploy", id, "outcome"])?.json(body)).await
    }

    /// `GET /api/v1/deploy/{id}/result`; the response's data.
    pub async fn result(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["deploy", id, "result"])?).await
    }

    /// `GET /api/v1/deploy/current`; the response's data.
    pub async fn current(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["deploy", "current"])?).await
    }

    /// `GET /api/v1/deploy` with its filters; the response's data.
    pub async fn list(&self, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["deploy"])?.query(query)).await
    }

    /// `POST /api/v1/schedules`, sent again as [`Api::deploy`] is; the response's data.
    pub async fn create_schedule(&self, body: &Value) -> Result<Value, CliError> {
        self.post_once(&["schedules"], body).await
    }

    /// `POST /api/v1/schedules/{id}/run`, sent again as [`Api::deploy`] is; the response's data.
    pub async fn run_schedule(&self, id: &str) -> Result<Value, CliError> {
        self.post_once(&["schedules", id, "run"], &json!({})).await
    }

    /// `PATCH /api/v1/schedules/{id}`; the response's data.
    pub async fn change_schedule(&self, id: &str, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::PATCH, &["schedules", id])?.json(body)).await
    }

    /// `DELETE /api/v1/schedules/{id}`; the response's data.
    pub async fn delete_schedule(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["schedules", id])?).await
    }

    /// `GET /api/v1/schedules/{id}`; the response's data.
    pub async fn schedule(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["schedules", id])?).await
    }

    /// `GET /api/v1/schedules` with its filters; the response's data.
    pub async fn schedules(&self, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["schedules"])?.query(query)).await
    }

    /// `GET /api/v1/schedules/{id}/runs` with its filters; the response's data.
    pub async fn schedule_runs(&self, id: &str, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["schedules", id, "runs"])?.query(query)).await
    }

    /// `POST /api/v1/freezes`, sent again as [`Api::deploy`] is; the response's data.
    pub async fn create_freeze(&self, body: &Value) -> Result<Value, CliError> {
        self.post_once(&["freezes"], body).await
    }

    /// `GET /api/v1/freezes` with its filters; the response's data.
    pub async fn freezes(&self, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["freezes"])?.query(query)).await
    }

    /// `DELETE /api/v1/freezes/{id}`; the response's data.
    pub async fn lift_freeze(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["freezes", id])?).await
    }

    /// `GET /api/v1/policies/{owner}/{repo}` of a target; the response's data.
    pub async fn policy(&self, owner: &str, repo: &str, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["policies", owner, repo])?.query(query)).await
    }

    /// `PUT /api/v1/policies/{owner}/{repo}` of a target; the response's data.
    pub async fn set_policy(
        &self,
        owner: &str,
        repo: &str,
        query: &[(&str, String)],
        body: &Value,
    ) -> Result<Value, CliError> {
        self.call(self.request(Method::PUT, &["policies", owner, repo])?.query(query).json(body)).await
    }

    /// `DELETE /api/v1/connections/{id}`; the response's data.
    pub async fn remove_connection(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["connections", id])?).await
    }

    /// `GET /api/v1/connect/github/{id}/secrets`; the response's data.
    pub async fn build_secrets(&self, connection: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["connect", "github", connection, "secrets"])?).await
    }

    /// `PUT /api/v1/connect/github/{id}/secrets/{name}`; the response's data.
    pub async fn set_build_secret(
        &self,
        connection: &str,
        name: &str,
        value: &SecretString,
    ) -> Result<Value, CliError> {
        let request = self.request(Method::PUT, &["connect", "github", connection, "secrets", name])?;
        self.call(request.json(&json!({"value": value.expose_secret()}))).await
    }

    /// `DELETE /api/v1/connect/github/{id}/secrets/{name}`; the response's data.
    pub async fn remove_build_secret(&self, connection: &str, name: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["connect", "github", connection, "secrets", name])?).await
    }

    /// `GET /api/v1/deploy/{id}/replay`; the response's data.
    pub async fn replay(&self, id: &str) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["deploy", id, "replay"])?).await
    }

    /// `GET /api/v1/pipeline/check`; the response's data.
    pub async fn check_pipeline(&self, execution_arn: &str) -> Result<Value, CliError> {
        let request = self.request(Method::GET, &["pipeline", "check"])?;
        self.call(request.query(&[("executionArn", execution_arn)])).await
    }

    /// `GET /api/v1/audit` with its filters; the response's data.
    pub async fn audit(&self, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["audit"])?.query(query)).await
    }

    /// `GET /api/v1/reports`; the response's data.
    pub async fn reports(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["reports"])?).await
    }

    /// `GET /api/v1/reports/{name}` with its filters.
    pub async fn report(&self, name: &str, query: &[(&str, String)]) -> Result<(Report, Value), CliError> {
        let data = self.call(self.request(Method::GET, &["reports", name])?.query(query)).await?;
        Ok((self.read(&data)?, data))
    }

    /// `GET /api/v1/maintenance`; the response's data.
    pub async fn maintenance(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["maintenance"])?).await
    }

    /// `GET /api/v1/maintenance/runs` with its filters; the response's data.
    pub async fn maintenance_runs(&self, query: &[(&str, String)]) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["maintenance", "runs"])?.query(query)).await
    }

    /// `GET /api/v1/log`; the response's data.
    pub async fn log(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::GET, &["log"])?).await
    }

    /// `PUT /api/v1/log`; the response's data.
    pub async fn set_log(&self, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::PUT, &["log"])?.json(body)).await
    }

    /// `DELETE /api/v1/log`; the response's data.
    pub async fn reset_log(&self) -> Result<Value, CliError> {
        self.call(self.request(Method::DELETE, &["log"])?).await
    }

    /// `POST /api/v1/maintenance/runs`; the response's data.
    pub async fn start_maintenance(&self, body: &Value) -> Result<Value, CliError> {
        self.call(self.request(Method::POST, &["maintenance", "runs"])?.json(body)).await
    }

    /// `GET /api/v1/deploy/{id}/events`: the open stream; `None` when no more events will follow (204).
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
            200 => Err(self.protocol(message!("cli.no_stream", type = media_type(&answer)))),
            _ => Err(self.problem(answer).await),
        }
    }

    /// `GET /readyz`: true when the server reports that it is ready.
    #[cfg(feature = "dev")]
    pub async fn is_ready(&self) -> bool {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/readyz", url.path().trim_end_matches('/')));
        self.calls.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Deserialises `data`; a mismatch is a protocol error.
    pub fn read<T: serde::de::DeserializeOwned>(&self, data: &Value) -> Result<T, CliError> {
        T::deserialize(data).map_err(|error| self.protocol(outside(&error)))
    }
}

/// What an approver has reviewed, and the reason to override a freeze; each absent where it does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct SwitchOptions<'a> {
    /// Digest of the image that is ready (`sha256:…`).
    pub image_digest: Option<&'a str>,
    /// `pauseId` of the result.
    pub pause: Option<&'a str>,
    /// Reason for which freezes do not hold the switch.
    pub freeze_override: Option<&'a str>,
}

/// A body with the reason to override a freeze, if there is one.
fn overriding(reason: Option<&str>) -> Value {
    reason.map_or_else(|| json!({}), |reason| json!({"override": {"reason": reason}}))
}
