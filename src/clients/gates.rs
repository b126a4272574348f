//! Measures the gates of a policy: Prometheus queries, HTTP requests and alarms. Each measurement is one read; what it means is in `domain/gate`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Response;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::aws::{Alarm, AlarmState, Alarms};
use super::ssrf_guard::GuardedClient;
use super::{ClientError, ErrorKind};
use crate::bounded;
use crate::domain::destination::Destinations;
use crate::domain::gate::{AlarmCheck, GateReading, HttpCheck, PrometheusCheck, prometheus};
use crate::domain::message::{Message, message};
use crate::domain::text;
use crate::failpoints::around;

const CALL: &str = "gate";

/// Maximum number of bytes that are read of an answer.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Longest error and longest expected text in a message, in characters.
const MAX_SHOWN: usize = 300;

/// Values of headers by the names of build secrets.
pub type GateSecrets = BTreeMap<String, SecretString>;

/// Client for Prometheus and HTTP gates.
#[derive(Clone, Debug)]
pub struct GateClient {
    http: GuardedClient,
}

impl GateClient {
    /// Creates a client whose requests end within `timeout` and go only to allowed `destinations`. Fails only if TLS cannot be set up.
    pub fn new(timeout: Duration, destinations: Destinations) -> Result<Self, ClientError> {
        Ok(Self { http: GuardedClient::new(CALL, timeout, destinations)? })
    }

    /// Evaluates a query at this moment.
    pub async fn prometheus(&self, check: &PrometheusCheck, secrets: &GateSecrets) -> GateReading {
        let Ok(mut url) = Url::parse(&check.url) else { return GateReading::Unreadable(unread("URL")) };
        url.set_path(&format!("{}/api/v1/query", url.path().trim_end_matches('/')));
        url.query_pairs_mut().append_pair("query", &check.query);
        let asked = async {
            let answer = self.get(url, headers(&check.headers, secrets)?).await?;
            bounded::body(answer, MAX_BODY_BYTES).await.map_err(|error| unread(&error.to_string()))
        };
        match asked.await {
            // Prometheus describes a refused query in its body.
            Ok(body) => prometheus::read(check, &body),
            Err(found) => GateReading::Unreadable(found),
        }
    }

    /// Requests the path below `base`, the service's URL.
    pub async fn http(&self, check: &HttpCheck, base: &Url, secrets: &GateSecrets) -> GateReading {
        let mut url = base.clone();
        let (below, query) =
            check.path.split_once('?').map_or((check.path.as_str(), None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}{below}", base.path().trim_end_matches('/')));
        url.set_query(query);
        let headers = match headers(&check.headers, secrets) {
            Ok(headers) => headers,
            Err(found) => return GateReading::Unreadable(found),
        };
        let started = Instant::now();
        let asked = async {
            let answer = self.get(url, headers).await?;
            let status = answer.status().as_u16();
            let body = bounded::body_start(answer, MAX_BODY_BYTES).await;
            body.map(|body| (status, body)).map_err(|error| unread(&error.to_string()))
        };
        match asked.await {
            Ok((status, body)) => judged(check, status, &body, started.elapsed()),
            // No answer is a failure of the service itself.
            Err(found) => GateReading::Failed(None, found),
        }
    }

    async fn get(&self, url: Url, headers: HeaderMap) -> Result<Response, Message> {
        around(CALL, self.http.get(url, headers)).await.map_err(|error| unread(&error.message))
    }
}

fn judged(check: &HttpCheck, status: u16, body: &[u8], latency: Duration) -> GateReading {
    let (path, seconds) = (&check.path, Some(latency.as_secs_f64()));
    if !check.accepts(status) {
        return GateReading::Failed(seconds, message!("gate.status", path, status, codes = &check.codes));
    }
    match &check.contains {
        Some(wanted) if !String::from_utf8_lossy(body).contains(wanted.as_str()) => {
            let text = format!("{:?}", text::cut(wanted, MAX_SHOWN));
            GateReading::Failed(seconds, message!("gate.body", path, text))
        }
        _ => GateReading::Passed(seconds, message!("gate.status", path, status, codes = &check.codes)),
    }
}

/// Headers with the values of their secrets.
fn headers(named: &BTreeMap<String, String>, secrets: &GateSecrets) -> Result<HeaderMap, Message> {
    let mut headers = HeaderMap::new();
    for (name, secret) in named {
        let value = secrets.get(secret).ok_or_else(|| message!("gate.no_secret", name = secret))?;
        let unusable = || message!("gate.secret_characters", name = secret);
        let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?, value);
    }
    Ok(headers)
}

fn unread(error: &str) -> Message {
    message!("gate.unread", error = text::cut(error, MAX_SHOWN))
}

/// Reads an alarm of an account and region.
///
/// # Errors
/// Refused credentials, and throttled calls, for which the step waits.
pub async fn alarm(
    alarms: &Alarms,
    check: &AlarmCheck,
    (account, region): (&str, &str),
) -> Result<GateReading, ClientError> {
    match alarms.alarm(&check.name).await {
        Ok(Some(found)) => Ok(of_alarm(found)),
        Ok(None) => Ok(GateReading::Unreadable(message!("gate.alarm_missing", alarm = &check.name, account, region))),
        Err(error) if matches!(error.kind, ErrorKind::Credentials | ErrorKind::Throttled) => Err(error),
        Err(error) => Ok(GateReading::Unreadable(unread(&error.to_string()))),
    }
}

fn of_alarm(Alarm { state, reason }: Alarm) -> GateReading {
    let found = |state: &str| message!("gate.alarm", state, why = &reason);
    match state {
        AlarmState::Ok => GateReading::Passed(None, found("OK")),
        AlarmState::Alarm => GateReading::Failed(None, found("ALARM")),
        AlarmState::Insufficient(state) => GateReading::NoData(found(&state)),
    }
}
