//! Hostile input of `hostile_input.json` in every parameter of every documented endpoint. None of it is answered with 5xx, escapes its field, or is
//! stored as anything but data.

use futures_util::StreamExt as _;
use panda::domain::event::Event;
use panda::domain::principal::Role;
use panda::domain::source::Source;
use panda::domain::{EventCode, validate};
use panda_testing::hostile::{Corpus, Input, encoded, exchange};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::auth::Token;
use super::freezes::ahead;
use super::{Api, ExternalServices, Fixture, Reader, external_services, fixture};
use crate::support::db::TestDb;

/// More than the connections of a caller, whose requests then wait for each other.
const CONCURRENT_REQUESTS: usize = 24;

/// Statuses of the HTTP server itself, before any handler: the request head is too long. They have no problem body.
const SERVER_STATUSES: [u16; 2] = [414, 431];

/// An API with its external services and some stored data.
pub struct Target {
    pub api: Api,
    /// A token of an admin for all repositories.
    pub token: Token,
    /// A deployment that has failed.
    pub id: String,
    /// Valid bodies by path.
    bodies: Map<String, Value>,
    document: Value,
}

/// Location of an input in a request.
enum Location {
    Path(String),
    Query(String),
    Header(String),
    Field(String),
    /// A field of `build` in the body.
    Build(String),
}

impl Location {
    fn is_authorization(&self) -> bool {
        matches!(self, Self::Header(name) if name == "authorization")
    }
}

impl Target {
    /// Serves an API on `db`; the second value keeps its external services running.
    pub async fn make(db: &TestDb) -> (Self, impl Sized) {
        let ((github, root), sandbox) = (external_services::github().await, external_services::sandbox().await);
        let there = ExternalServices::default().with_github(&github).with_aws(&sandbox).with_public_url();
        // Streams of all deployments end immediately, so that no request reads for ever; the deployment has ended.
        let flags = [
            "--auth=required",
            "--rate-per-client=0",
            "--rate-per-token=0",
            "--max-streams-per-client=10000",
            "--stream-rotation-ms=50",
        ];
        let api = Api::serve_with(&db.db, &there, &flags).await;
        let token = Token::of(&db.db, Role::Admin).await;
        let mut failed = Fixture::begin_of(&db.db, "acme", "other").await;
        failed.fail().await;
        let keys = sandbox.user_credentials();
        let bodies = json!({
            "/api/v1/connect/github": {"owner": "acme", "repo": "shop", "branch": "main", "token": external_services::TOKEN},
            "/api/v1/connect/aws": {"region": sandbox.region(), "accessKeyId": keys.access_key_id,
                "secretAccessKey": keys.secret_access_key.expose_secret()},
            "/api/v1/deploy": {"githubConnectionId": fixture::github_connection(&db.db, "acme", "shop").await,
                "awsConnectionId": fixture::aws_connection(&db.db).await, "owner": "acme", "repo": "shop", "branch": "main"},
        });
        let document = serde_json::to_value(panda::http::document()).unwrap();
        let Value::Object(mut bodies) = bodies else { unreachable!() };
        let schedule = json!({"cron": "0 0 1 1 *", "timeZone": "UTC", "deploy": bodies["/api/v1/deploy"]});
        bodies.insert("/api/v1/schedules".to_owned(), schedule);
        let secret = json!({"value": "not a secret"});
        bodies.insert("/api/v1/connect/github/{id}/secrets/{name}".to_owned(), secret);
        for service in ["github", "aws"] {
            let body = bodies[&format!("/api/v1/connect/{service}")].clone();
            bodies.insert(format!("/api/v1/connect/{service}/{{id}}"), body);
        }
        let subject = json!({"issuer": "https://issuer.example", "subject": "x", "reason": "y"});
        bodies.insert("/api/v1/revocations".to_owned(), subject);
        bodies.insert("/api/v1/tokens".to_owned(), json!({"name": "ci", "role": "viewer"}));
        let freeze = json!({"scope": "repository:none/none", "holds": "starts", "reason": "x", "endsAt": ahead(5)});
        bodies.insert("/api/v1/freezes".to_owned(), freeze);
        // Disabled, so that the replicas of a test send nothing to it.
        let webhook = json!({"url": "https://hooks.invalid/x", "description": "x", "events": ["fail"], "repositories": ["none/none"],
                             "language": "en", "enabled": false});
        let channel = json!({"kind": "slack", "secret": "xoxb-x", "slack": {"channel": "C0123456789", "apiUrl": "https://slack.invalid/api"},
                             "description": "x", "events": ["fail"], "repositories": ["none/none"], "language": "en", "enabled": false,
                             "quietHours": {"from": "22:00", "to": "08:00", "timeZone": "UTC", "except": ["fail"]},
                             "mentions": {"default": ["S0123456789"], "subjects": {"alice": "U0123456789"}}});
        bodies.insert("/api/v1/channels".to_owned(), channel.clone());
        bodies.insert("/api/v1/channels/{id}".to_owned(), channel);
        bodies.insert("/api/v1/webhooks".to_owned(), webhook.clone());
        bodies.insert("/api/v1/webhooks/{id}".to_owned(), webhook);
        bodies.insert("/api/v1/webhooks/{id}/secret".to_owned(), json!({"keepPreviousHours": 1}));
        let rule = {
            let deploy = &bodies["/api/v1/deploy"];
            json!({"githubConnectionId": deploy["githubConnectionId"], "awsConnectionId": deploy["awsConnectionId"], "owner": "acme",
                   "repo": "shop", "branches": ["main"]})
        };
        let push_hook = json!({"name": "x", "rules": [rule], "enabled": true});
        let app = json!({"name": "Panda", "organization": "acme"});
        bodies.insert("/api/v1/github-apps".to_owned(), app);
        let returned = json!({"state": "0".repeat(64), "code": "0".repeat(40)});
        bodies.insert("/api/v1/github-apps/exchange".to_owned(), returned);
        bodies.insert("/api/v1/hooks".to_owned(), push_hook.clone());
        bodies.insert("/api/v1/hooks/{id}".to_owned(), push_hook);
        bodies.insert("/api/v1/hooks/{id}/secret".to_owned(), json!({"keepPreviousHours": 1}));
        bodies.insert(
            "/api/v1/policies/{owner}/{repo}".to_owned(),
            json!({"windows": [], "gates": [{"name": "live", "at": "bake", "http": {"path": "/"}}]}),
        );
        bodies.insert("/api/v1/deploy/{id}/outcome".to_owned(), json!({"outcome": "ok", "reason": "x"}));
        bodies.insert("/api/v1/log".to_owned(), json!({"filter": "info", "forSeconds": 1}));
        (Self { api, token, id: failed.id().to_owned(), bodies, document }, (github, root, sandbox))
    }

    /// Each location of each operation.
    fn locations(&self) -> Vec<(Method, String, Location)> {
        let mut locations = Vec::new();
        for (path, item) in self.document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let mut add =
                    |location| locations.push((method.to_uppercase().parse().unwrap(), path.clone(), location));
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let name = parameter["name"].as_str().unwrap().to_owned();
                    add(match parameter["in"].as_str().unwrap() {
                        "path" => Location::Path(name),
                        "query" => Location::Query(name),
                        "header" => Location::Header(name),
                        other => panic!("unexpected parameter location {other}"),
                    });
                }
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
                let schema = schema.as_str().and_then(|reference| self.document.pointer(&reference[1..]));
                for name in schema.and_then(|schema| schema["properties"].as_object()).into_iter().flat_map(Map::keys) {
                    add(Location::Field(name.clone()));
                    if name == "build" {
                        let build = self.document["components"]["schemas"]["Build"]["properties"].as_object().unwrap();
                        build.keys().for_each(|name| add(Location::Build(name.clone())));
                    }
                }
            }
        }
        for header in ["accept", "authorization", "content-type", "cookie", "origin", "x-forwarded-for", "x-request-id"]
        {
            locations.push((Method::GET, "/api/v1/connections".to_owned(), Location::Header(header.to_owned())));
        }
        locations
    }

    /// The bytes of a request with `value` at a location and everything else valid.
    fn request(&self, method: &Method, path: &str, location: &Location, value: &Value) -> Vec<u8> {
        let text = value.as_str().unwrap_or_default();
        let mut concrete = path.to_owned();
        if let Location::Path(name) = location {
            concrete = concrete.replace(&format!("{{{name}}}"), &encoded(text));
        }
        let concrete = concrete.replace("{id}", &self.id).replace("{name}", "npm_token").replace("{delivery}", "x");
        let query =
            if let Location::Query(name) = location { format!("?{name}={}", encoded(text)) } else { String::new() };
        let mut head =
            format!("{method} {concrete}{query} HTTP/1.1\r\nHost: panda\r\nConnection: close\r\n").into_bytes();
        if !location.is_authorization() {
            head.extend(self.signed_in().bytes());
        }
        if let Location::Header(name) = location {
            // Other bytes end the line and start another request: those cases are in `requests`.
            let fit = text.bytes().filter(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f);
            head.extend(format!("{name}: ").bytes().chain(fit).chain(*b"\r\n"));
        }
        let mut body = Vec::new();
        if method != Method::GET {
            let mut fields = self.bodies.get(path).cloned().unwrap_or_else(|| json!({}));
            if let Location::Field(name) = location {
                fields[name] = value.clone();
                // Keeps mutually exclusive fields apart, so that only the input can be refused.
                if ["commit", "tag", "image"].contains(&name.as_str()) {
                    fields.as_object_mut().unwrap().remove("branch");
                }
            }
            if let Location::Build(name) = location {
                fields["build"][name] = value.clone();
            }
            body = fields.to_string().into_bytes();
            head.extend(format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()).bytes());
        }
        [head, b"\r\n".to_vec(), body].concat()
    }

    /// The header that signs a request in.
    fn signed_in(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token.secret)
    }

    /// Sends a request and checks the answer. `promised` are the documented statuses, when the request is about one operation.
    async fn check(&self, request: &[u8], promised: Option<&Value>) {
        let about = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
        let answer = exchange(self.api.address, request, promised.is_none()).await;
        let text = String::from_utf8_lossy(&answer);
        if text.is_empty() {
            assert!(promised.is_none(), "no answer: {about:?}");
            return;
        }
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{about:?}: {text}"));
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(status < 500, "{about:?}: {text}");
        assert!(!head.to_ascii_lowercase().contains("\nx-injected"), "{about:?}: {head}");
        if head.contains("text/event-stream") {
            let broken = body.lines().any(|line| line.starts_with("event: evil") || line.starts_with("data: evil"));
            assert!(!broken && !body.contains("data: x"), "{about:?}: {body}");
        }
        let Some(promised) = promised.filter(|_| !SERVER_STATUSES.contains(&status)) else { return };
        assert!(promised.get(status.to_string()).is_some(), "{status} is not in the document: {about:?}: {text}");
        if status >= 400 {
            let problem: Value =
                serde_json::from_str(body).unwrap_or_else(|error| panic!("{about:?}: {error}: {body}"));
            assert_eq!(problem["status"], status, "{about:?}");
            assert!(
                !problem["errorCode"].as_str().unwrap().is_empty() && !problem["message"].as_str().unwrap().is_empty()
            );
        }
    }

    /// The document's entry for an operation.
    fn promised(&self, method: &Method, path: &str) -> &Value {
        &self.document["paths"][path][method.as_str().to_lowercase()]["responses"]
    }
}

/// Sends each input of the corpus at each place of one sort.
async fn harmless_at(is_chosen: impl Fn(&Location) -> bool) {
    let (corpus, db) = (Corpus::read(), TestDb::new().await);
    let (target, _external) = Box::pin(Target::make(&db)).await;
    let mut requests = Vec::new();
    for (method, path, location) in target.locations().into_iter().filter(|(_, _, location)| is_chosen(location)) {
        let mut values: Vec<Value> = corpus.values().into_iter().map(Value::String).collect();
        if is_field(&location) {
            values.extend([
                json!(null),
                json!(true),
                json!(-1),
                json!(1e308),
                json!([]),
                json!({}),
                json!([["x"]]),
                json!({"a": "b"}),
            ]);
        }
        requests.extend(
            values
                .iter()
                .map(|value| (target.request(&method, &path, &location, value), target.promised(&method, &path))),
        );
    }
    assert!(requests.len() > 15_000, "{}", requests.len());
    let checks = requests.iter().map(|(request, promised)| target.check(request, Some(promised)));
    futures_util::stream::iter(checks).buffer_unordered(CONCURRENT_REQUESTS).collect::<()>().await;

    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT owner, repo, branch FROM deployments UNION SELECT owner, repo, branch FROM github_connections",
    )
    .fetch_all(&mut db.psql().await)
    .await
    .unwrap();
    for (owner, repo, branch) in rows {
        validate::owner(&owner).and(validate::repo(&repo)).unwrap();
        let source = Source::of_column(&branch);
        match source.kind() {
            "branch" => validate::branch(source.name()).unwrap(),
            "tag" => validate::tag(source.name()).unwrap(),
            kind => panic!("{kind} {branch}"),
        }
    }
    for path in ["/healthz", "/readyz", "/api/v1/deploy", "/api/v1/connections"] {
        assert_eq!(target.token.get(&target.api, path).await.status, 200, "{path} keeps working");
    }
}

fn is_field(location: &Location) -> bool {
    matches!(location, Location::Field(_) | Location::Build(_))
}

#[tokio::test]
async fn hostile_input__harmless_in_every_field() {
    Box::pin(harmless_at(is_field)).await;
}

#[tokio::test]
async fn hostile_input__harmless_in_every_path_and_query() {
    Box::pin(harmless_at(|location| matches!(location, Location::Path(_) | Location::Query(_)))).await;
}

#[tokio::test]
async fn hostile_input__harmless_in_every_header() {
    Box::pin(harmless_at(|location| matches!(location, Location::Header(_)))).await;
}

#[tokio::test]
async fn hostile_input__bodies_targets_and_requests() {
    let (corpus, db) = (Corpus::read(), TestDb::new().await);
    let (target, _external) = Box::pin(Target::make(&db)).await;
    let document = target.document.clone();
    let mut requests = Vec::new();
    for (path, _) in document["paths"].as_object().unwrap().iter().filter(|(_, item)| item.get("post").is_some()) {
        let promised = target.promised(&Method::POST, path);
        for body in corpus.bodies.iter().map(Input::bytes) {
            let concrete = path.replace("{id}", "dep_none");
            let head = format!(
                "POST {concrete} HTTP/1.1\r\nHost: panda\r\nConnection: close\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                target.signed_in(),
                body.len()
            );
            requests.push(([head.into_bytes(), body].concat(), Some(promised)));
        }
    }
    for path in &corpus.targets {
        for method in ["GET", "POST", "DELETE"] {
            let path = path.replace("{id}", &target.id);
            requests.push((
                format!("{method} {path} HTTP/1.1\r\nHost: panda\r\nConnection: close\r\n{}\r\n", target.signed_in())
                    .into_bytes(),
                None,
            ));
        }
    }
    requests.extend(corpus.requests.iter().map(|request| (request.clone().into_bytes(), None)));
    let checks = requests.iter().map(|(request, promised)| target.check(request, *promised));
    futures_util::stream::iter(checks).buffer_unordered(CONCURRENT_REQUESTS).collect::<()>().await;
    for path in ["/healthz", "/readyz", "/api/v1/deploy"] {
        assert_eq!(target.token.get(&target.api, path).await.status, 200, "{path} keeps working");
    }
}

#[tokio::test]
async fn hostile_input__no_credential_bypass() {
    let (corpus, db) = (Corpus::read(), TestDb::new().await);
    let (target, _external) = Box::pin(Target::make(&db)).await;
    let secret = &target.token.secret;
    let near = [
        secret.to_uppercase(),
        secret[1..].to_owned(),
        secret[..secret.len() - 1].to_owned(),
        format!("{secret}x"),
        format!("{secret} {secret}"),
        format!("bearer,{secret}"),
    ];
    let paths = ["/api/v1/connections", "/api/v1/deploy", "/api/v1/audit", "/api/v1/events"];
    let mut requests = Vec::new();
    for value in corpus.values().into_iter().chain(near) {
        let fit: String = value.chars().filter(|c| *c == '\t' || *c >= ' ' && *c != '\u{7f}').collect();
        for (n, credential) in [
            format!("Authorization: Bearer {fit}\r\n"),
            format!("Authorization: Basic {fit}\r\n"),
            format!("Authorization: {fit}\r\n"),
            format!("Cookie: panda_session={fit}\r\n"),
            format!("Authorization: Bearer {fit}\r\nAuthorization: Bearer {secret}\r\n"),
        ]
        .into_iter()
        .enumerate()
        {
            let path = paths[n % paths.len()];
            requests.push(format!("GET {path} HTTP/1.1\r\nHost: panda\r\nConnection: close\r\n{credential}\r\n"));
        }
        let ticket = format!("/api/v1/events?ticket={}", encoded(&value));
        requests.push(format!("GET {ticket} HTTP/1.1\r\nHost: panda\r\nConnection: close\r\n\r\n"));
    }
    let checks = requests.iter().map(async |request| {
        let answer = exchange(target.api.address, request.as_bytes(), false).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status: u16 = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{request:?}: {answer}")).parse().unwrap();
        assert!(matches!(status, 400 | 401 | 414 | 431), "{request:?}: {answer}");
    });
    futures_util::stream::iter(checks).buffer_unordered(CONCURRENT_REQUESTS).collect::<()>().await;
}

#[tokio::test]
async fn hostile_input__event_text_stays_in_message() {
    let (corpus, db) = (Corpus::read(), TestDb::new().await);
    let api = Api::serve(&db.db).await;
    let mut feed = Reader::open(api.request(Method::GET, "/api/v1/events")).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let mut own = api.follow(fixture.id(), "").await;
    let values = corpus.values();
    let received =
        |(n, value): (usize, &String)| Event::new(EventCode::BuildProgress).with("message", value.clone()).keyed(n);
    fixture.tell(values.iter().enumerate().map(received).collect()).await;
    // The reader fails on anything but the four lines of each event.
    for messages in [own.take(values.len()).await, feed.take(values.len()).await] {
        for (message, value) in messages.iter().zip(&values) {
            assert_eq!(message.event, "stage");
            let beginning: String = value.chars().take(20).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect();
            assert!(message.text().contains(&beginning), "{value:?}: {}", message.text());
        }
    }
}
