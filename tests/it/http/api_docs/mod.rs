//! The API answers exactly the errors that its OpenAPI document promises.

mod push_hooks;
mod receivers;

use std::collections::{BTreeMap, BTreeSet};

use panda::domain::deployment::Facts;
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::Executor;

use super::auth::Token;
use super::freezes::ahead;
use super::provoker::Provoker;
use super::{Api, ExternalServices, Fixture, external_services, fixture, unreachable_db};
use crate::support::db::TestDb;
use crate::support::wait_for;

/// Statuses that the document promises, by `METHOD path`.
fn promised(document: &Value) -> BTreeMap<String, BTreeSet<u16>> {
    let mut promised = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let statuses = operation["responses"].as_object().unwrap().keys();
            let errors = statuses.map(|status| status.parse().unwrap()).filter(|status| *status >= 400).collect();
            promised.insert(format!("{} {path}", method.to_uppercase()), errors);
        }
    }
    promised
}

/// Id of a delivery in paths.
const DELIVERY: &str = "01970000-0000-7000-8000-000000000000";

/// The servers that requests go to.
struct Servers<'a> {
    db: &'a TestDb,
    api: &'a Api,
    /// Without GitHub and AWS.
    alone: &'a Api,
    /// Without a database.
    unreachable: &'a Api,
    /// With a short time limit of bodies.
    slow: &'a Api,
}

/// A valid request, which fails once every statement does.
struct LaterRequest {
    method: Method,
    path: &'static str,
    concrete: String,
    fill: Box<dyn Fn(RequestBuilder) -> RequestBuilder>,
}

impl LaterRequest {
    fn json(method: Method, path: &'static str, concrete: &str, body: &Value) -> Self {
        let (concrete, body) = (concrete.to_owned(), body.clone());
        Self { method, path, concrete, fill: Box::new(move |r| r.json(&body)) }
    }
}

fn keyed(request: RequestBuilder) -> RequestBuilder {
    request.header("idempotency-key", "k")
}

fn too_long(request: RequestBuilder) -> RequestBuilder {
    request.header("content-type", "application/json").body("x".repeat(70_000))
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one list of everything that can go wrong, compared as a whole at its end")]
async fn openapi__routes_answer_exactly_documented_errors() {
    let db = TestDb::new().await;
    let ((github, _root), sandbox) = (external_services::github().await, external_services::sandbox().await);
    let there = ExternalServices::default().with_github(&github).with_aws(&sandbox).with_public_url();
    let api = Api::serve_with(&db.db, &there, &[]).await;
    let alone = Api::serve(&db.db).await;
    let away = Api::serve_with(&unreachable_db(), &there, &[]).await;

    let (github, aws) = fixture::connections(&db.db).await;
    let mut running = Fixture::begin_of(&db.db, "acme", "shop").await;
    let id = running.id().to_owned();
    let keys = sandbox.user_credentials();
    let bodies = [
        (
            "/api/v1/connect/github",
            json!({"owner": "acme", "repo": "shop", "branch": "main", "token": external_services::TOKEN}),
        ),
        (
            "/api/v1/connect/aws",
            json!({"region": sandbox.region(), "accessKeyId": keys.access_key_id,
                   "secretAccessKey": keys.secret_access_key.expose_secret()}),
        ),
        (
            "/api/v1/deploy",
            json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"}),
        ),
        (
            "/api/v1/schedules",
            json!({"cron": "@yearly", "deploy": {"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop",
                                                 "branch": "main"}}),
        ),
        ("/api/v1/maintenance/runs", json!({"kind": "events"})),
        ("/api/v1/revocations", json!({"issuer": "https://issuer.example", "subject": "x"})),
        ("/api/v1/tokens", json!({"name": "ci", "role": "viewer"})),
        ("/api/v1/freezes", json!({"scope": "owner:toys", "reason": "sale", "endsAt": ahead(60)})),
        ("/api/v1/webhooks", json!({"url": "https://hooks.example.com/x"})),
        ("/api/v1/channels", json!({"kind": "slack", "secret": "xoxb-x", "slack": {"channel": "C0123456789"}})),
        (
            "/api/v1/hooks",
            json!({"rules": [{"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branches": ["main"]}]}),
        ),
        ("/api/v1/github-apps", json!({})),
        ("/api/v1/github-apps/exchange", json!({"state": "0".repeat(64), "code": "0".repeat(40)})),
    ];
    let plain = [
        (Method::GET, "/api/v1/connections"),
        (Method::POST, "/api/v1/connect/aws/{id}/check"),
        (Method::GET, "/api/v1/connect/aws/{id}/rule-role"),
        (Method::POST, "/api/v1/connect/aws/{id}/rule-role"),
        (Method::GET, "/api/v1/connect/github/{id}/secrets"),
        (Method::DELETE, "/api/v1/connect/github/{id}/secrets/{name}"),
        (Method::GET, "/api/v1/deploy"),
        (Method::GET, "/api/v1/deploy/current"),
        (Method::GET, "/api/v1/deploy/{id}/result"),
        (Method::GET, "/api/v1/deploy/{id}/log"),
        (Method::GET, "/api/v1/deploy/{id}/replay"),
        (Method::POST, "/api/v1/deploy/{id}/switch"),
        (Method::POST, "/api/v1/deploy/{id}/cancel"),
        (Method::POST, "/api/v1/deploy/{id}/retry"),
        (Method::POST, "/api/v1/deploy/{id}/rollback"),
        (Method::POST, "/api/v1/deploy/{id}/ticket"),
        (Method::POST, "/api/v1/events/ticket"),
        (Method::DELETE, "/api/v1/session"),
        (Method::GET, "/api/v1/pipeline/check"),
        (Method::GET, "/api/v1/audit"),
        (Method::GET, "/api/v1/reports/{name}"),
        (Method::GET, "/api/v1/maintenance"),
        (Method::GET, "/api/v1/maintenance/runs"),
        (Method::GET, "/api/v1/log"),
        (Method::DELETE, "/api/v1/log"),
        (Method::DELETE, "/api/v1/connections/{id}"),
        (Method::GET, "/api/v1/schedules"),
        (Method::GET, "/api/v1/schedules/{id}"),
        (Method::DELETE, "/api/v1/schedules/{id}"),
        (Method::GET, "/api/v1/schedules/{id}/runs"),
        (Method::POST, "/api/v1/schedules/{id}/run"),
        (Method::GET, "/api/v1/revocations"),
        (Method::GET, "/api/v1/freezes"),
        (Method::DELETE, "/api/v1/freezes/{id}"),
        (Method::GET, "/api/v1/channels"),
        (Method::GET, "/api/v1/channels/{id}"),
        (Method::DELETE, "/api/v1/channels/{id}"),
        (Method::POST, "/api/v1/channels/{id}/test"),
        (Method::GET, "/api/v1/channels/{id}/deliveries"),
        (Method::POST, "/api/v1/channels/{id}/deliveries/{delivery}/replay"),
        (Method::GET, "/api/v1/webhooks"),
        (Method::GET, "/api/v1/webhooks/{id}"),
        (Method::DELETE, "/api/v1/webhooks/{id}"),
        (Method::POST, "/api/v1/webhooks/{id}/test"),
        (Method::GET, "/api/v1/webhooks/{id}/deliveries"),
        (Method::POST, "/api/v1/webhooks/{id}/deliveries/{delivery}/replay"),
        (Method::GET, "/api/v1/github-apps"),
        (Method::DELETE, "/api/v1/github-apps/{id}"),
        (Method::GET, "/api/v1/hooks"),
        (Method::GET, "/api/v1/hooks/{id}"),
        (Method::DELETE, "/api/v1/hooks/{id}"),
        (Method::GET, "/api/v1/hooks/{id}/deliveries"),
        (Method::POST, "/api/v1/hooks/{id}/deliveries/{delivery}/redelivery"),
        (Method::GET, "/api/v1/tokens"),
        (Method::DELETE, "/api/v1/tokens/{id}"),
        (Method::DELETE, "/api/v1/revocations/{id}"),
        (Method::GET, "/readyz"),
    ];
    let cookie = |r: RequestBuilder| r.header("cookie", "panda_session=x");
    let mut provoker = Provoker::default();
    let p = &mut provoker;

    // Errors of the middleware, for every endpoint alike.
    let slow = Api::serve_with(&db.db, &there, &["--body-timeout-ms=100"]).await;
    let busy = Api::serve_with(&db.db, &there, &["--rate-per-client=1"]).await;
    let document = serde_json::to_value(panda::http::document()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        let concrete =
            path.replace("{id}", &id).replace("{name}", "dora").replace("{owner}", "acme").replace("{repo}", "shop");
        let concrete = concrete.replace("{delivery}", DELIVERY);
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let promises = |status: &str| operation["responses"].get(status).is_some();
            if promises("429") {
                p.ask_too_often(&busy, &method, path, &concrete).await;
            }
            if promises("400") {
                p.ask(&api, method.clone(), path, &concrete, |r| r.header("host", "a b")).await;
            }
            if promises("403") && !method.is_safe() {
                p.ask(&api, method.clone(), path, &concrete, |r| r.header("origin", "https://evil.example")).await;
            }
            if promises("408") {
                let never =
                    reqwest::Body::wrap_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
                p.ask(&slow, method, path, &concrete, |r| r.header("content-type", "application/json").body(never))
                    .await;
            }
        }
    }

    // Invalid requests.
    for (path, body) in &bodies {
        let json = |r: RequestBuilder, body: String| r.header("content-type", "application/json").body(body);
        p.ask(&api, Method::POST, path, path, |r| json(r, "{".to_owned())).await;
        p.ask(&api, Method::POST, path, path, too_long).await;
        p.ask(&api, Method::POST, path, path, |r| r.body("{}")).await;
        // The database is unavailable.
        p.ask(&away, Method::POST, path, path, |r| r.json(body)).await;
    }
    p.ask(&api, Method::GET, "/api/v1/deploy", "/api/v1/deploy?limit=0", |r| r).await;
    p.ask(&api, Method::GET, "/api/v1/audit", "/api/v1/audit?limit=0", |r| r).await;
    p.ask(&api, Method::GET, "/api/v1/revocations", "/api/v1/revocations?limit=0", |r| r).await;
    p.ask(&api, Method::GET, "/api/v1/tokens", "/api/v1/tokens?limit=0", |r| r).await;
    p.ask(&api, Method::GET, "/api/v1/freezes", "/api/v1/freezes?limit=0", |r| r).await;
    p.ask(&api, Method::GET, "/api/v1/reports/{name}", "/api/v1/reports/dora?since=x", |r| r).await;
    p.ask(&api, Method::GET, "/api/v1/reports/{name}", "/api/v1/reports/none", |r| r).await;
    p.ask(&api, Method::GET, "/api/v1/maintenance/runs", "/api/v1/maintenance/runs?limit=0", |r| r).await;
    let (outcome, marked) = ("/api/v1/deploy/{id}/outcome", json!({"outcome": "failed"}));
    let outcome_of = |id: &str| outcome.replace("{id}", id);
    p.ask(&api, Method::PUT, outcome, &outcome_of(&id), |r| r.json(&json!({"outcome": "bad"}))).await;
    p.ask(&api, Method::PUT, outcome, &outcome_of(&id), |r| r.body("{}")).await;
    p.ask(&api, Method::PUT, outcome, &outcome_of(&id), too_long).await;
    p.ask(&api, Method::PUT, outcome, &outcome_of(&id), |r| r.json(&marked)).await;
    p.ask(&api, Method::PUT, outcome, &outcome_of("dep_unknown"), |r| r.json(&marked)).await;
    p.ask(&away, Method::PUT, outcome, &outcome_of(&id), |r| r.json(&marked)).await;
    let (policy, of_shop) = ("/api/v1/policies/{owner}/{repo}", "/api/v1/policies/acme/shop");
    p.ask(&api, Method::PUT, policy, of_shop, |r| r.json(&json!({"gates": [{}]}))).await;
    p.ask(&api, Method::PUT, policy, of_shop, |r| r.body("{}")).await;
    p.ask(&api, Method::PUT, policy, of_shop, too_long).await;
    p.ask(&away, Method::PUT, policy, of_shop, |r| r.json(&json!({}))).await;
    p.ask(&api, Method::GET, policy, "/api/v1/policies/acme/shop?region=x", |r| r).await;
    p.ask(&away, Method::GET, policy, of_shop, |r| r).await;
    p.ask(&api, Method::GET, policy, "/api/v1/policies/acme/", |r| r).await;
    p.ask(&api, Method::PUT, policy, "/api/v1/policies/acme/", |r| r.json(&json!({}))).await;
    let (log, filter) = ("/api/v1/log", json!({"filter": "debug"}));
    p.ask(&api, Method::PUT, log, log, |r| r.json(&json!({"filter": "off"}))).await;
    p.ask(&api, Method::PUT, log, log, |r| r.body("{}")).await;
    p.ask(&api, Method::PUT, log, log, too_long).await;
    p.ask(&away, Method::PUT, log, log, |r| r.json(&filter)).await;
    let (secret, value) = ("/api/v1/connect/github/{id}/secrets/{name}", json!({"value": "not a secret"}));
    let named = |connection: &str, name: &str| secret.replace("{id}", connection).replace("{name}", name);
    p.ask(&api, Method::PUT, secret, &named(&github, "npm"), |r| r.json(&json!({"value": ""}))).await;
    p.ask(&api, Method::PUT, secret, &named(&github, "npm"), |r| r.body("{}")).await;
    p.ask(&api, Method::PUT, secret, &named(&github, "npm"), too_long).await;
    p.ask(&away, Method::PUT, secret, &named(&github, "npm"), |r| r.json(&value)).await;
    p.ask(&api, Method::PUT, secret, &named("gh_unknown", "npm"), |r| r.json(&value)).await;
    // Renewal needs connections that the API made, because it calls STS and GitHub.
    let made = api.post("/api/v1/connect/aws", &bodies[1].1).await.json()["data"]["awsConnectionId"].clone();
    let renewals = [
        (
            "/api/v1/connect/github/{id}",
            github.clone(),
            json!({"token": external_services::TOKEN}),
            json!({"branch": "other"}),
        ),
        (
            "/api/v1/connect/aws/{id}",
            made.as_str().unwrap().to_owned(),
            bodies[1].1.clone(),
            json!({"region": "us-east-1"}),
        ),
    ];
    for (path, connection, body, differs) in &renewals {
        let concrete = path.replace("{id}", connection);
        let mut other = body.clone();
        differs.as_object().unwrap().iter().for_each(|(name, value)| other[name] = value.clone());
        p.ask(&api, Method::PUT, path, &concrete, |r| r.json(&json!({}))).await;
        p.ask(&api, Method::PUT, path, &concrete, |r| r.body("{}")).await;
        p.ask(&api, Method::PUT, path, &concrete, too_long).await;
        p.ask(&api, Method::PUT, path, &concrete, |r| r.json(&other)).await;
        p.ask(&away, Method::PUT, path, &concrete, |r| r.json(body)).await;
        p.ask(&alone, Method::PUT, path, &concrete, |r| r.json(body)).await;
        p.ask(&api, Method::PUT, path, &path.replace("{id}", "x"), |r| r.json(body)).await;
    }
    let (rule_role, of_made) =
        ("/api/v1/connect/aws/{id}/rule-role", format!("/api/v1/connect/aws/{}/rule-role", made.as_str().unwrap()));
    for method in [Method::GET, Method::POST] {
        p.ask(&alone, method.clone(), rule_role, &of_made, |r| r).await;
        sandbox.faults().update(|faults| faults.calls.entry("iam:GetRole".to_owned()).or_default().deny = true);
        p.ask(&api, method, rule_role, &of_made, |r| r).await;
        sandbox.faults().clear();
    }
    let check = "/api/v1/pipeline/check";
    let execution = format!("{check}?executionArn=arn:aws:states:ap-northeast-2:123456789012:execution:panda:none");
    p.ask(&api, Method::GET, check, check, |r| r).await;
    p.ask(&api, Method::GET, check, &execution, |r| r).await;
    p.ask(&alone, Method::GET, check, &execution, |r| r).await;
    sandbox
        .faults()
        .update(|faults| faults.calls.entry("states:DescribeExecution".to_owned()).or_default().deny = true);
    p.ask(&api, Method::GET, check, &execution, |r| r).await;
    sandbox.faults().clear();
    let role = format!("arn:aws:iam::{}:role/panda", sandbox.user_account_id());
    let role = json!({"region": sandbox.region(), "roleArn": role});
    p.ask(&api, Method::POST, "/api/v1/connect/aws", "/api/v1/connect/aws", |r| r.json(&role)).await;
    for number in 0..20 {
        let request = api.request(Method::PUT, &named(&github, &format!("s{number}"))).json(&value);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    p.ask(&api, Method::PUT, secret, &named(&github, "npm"), |r| r.json(&value)).await;
    p.ask(&api, Method::DELETE, secret, &named(&github, "1x"), |r| r).await;
    let schedule =
        api.post("/api/v1/schedules", &bodies[3].1).await.json()["data"]["scheduleId"].as_str().unwrap().to_owned();
    let (one, this) = ("/api/v1/schedules/{id}", format!("/api/v1/schedules/{schedule}"));
    let (run, run_this) = (format!("{one}/run"), format!("{this}/run"));
    p.ask(&api, Method::GET, "/api/v1/schedules", "/api/v1/schedules?limit=0", |r| r).await;
    p.ask(&api, Method::GET, &format!("{one}/runs"), &format!("{this}/runs?limit=0"), |r| r).await;
    let change = json!({"name": "other"});
    p.ask(&api, Method::PATCH, one, &this, |r| r.json(&json!({}))).await;
    p.ask(&api, Method::PATCH, one, &this, |r| r.body("{}")).await;
    p.ask(&api, Method::PATCH, one, &this, too_long).await;
    p.ask(&away, Method::PATCH, one, &this, |r| r.json(&change)).await;
    p.ask(&api, Method::POST, &run, &run_this, |r| r.header("idempotency-key", "")).await;
    p.ask(&api, Method::POST, &run, &run_this, |r| r.body("x".repeat(70_000))).await;
    p.ask(&api, Method::PATCH, one, "/api/v1/schedules/sch_unknown", |r| r.json(&change)).await;
    // Another transaction changes the row between the read and the update.
    let mut other = db.psql().await;
    other.execute("BEGIN; UPDATE schedules SET version = version + 1").await.unwrap();
    tokio::join!(p.ask(&api, Method::PATCH, one, &this, |r| r.json(&change)), async {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let mut psql = db.psql().await;
        wait_for("the change waits", async || {
            sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut psql).await.unwrap() == 1
        })
        .await;
        other.execute("COMMIT").await.unwrap();
    });
    let events = format!("/api/v1/deploy/{id}/events");
    p.ask(&api, Method::GET, "/api/v1/deploy/{id}/events", &events, |r| r.header("accept", "a/b")).await;
    p.ask(&api, Method::GET, "/api/v1/events", "/api/v1/events?status=x", |r| r).await;
    p.ask(&api, Method::GET, "/api/v1/events", "/api/v1/events", |r| r.header("accept", "a/b")).await;
    // Another reader holds the only stream permit.
    let full = Api::serve_with(&db.db, &there, &["--max-streams=1"]).await;
    let _taken = full.follow(&id, "").await;
    p.ask(&full, Method::GET, "/api/v1/events", "/api/v1/events", |r| r).await;
    p.ask(&full, Method::GET, "/api/v1/deploy/{id}/events", &events, |r| r).await;
    for command in ["switch", "cancel", "retry", "rollback"] {
        let (path, concrete) = (format!("/api/v1/deploy/{{id}}/{command}"), format!("/api/v1/deploy/{id}/{command}"));
        p.ask(&api, Method::POST, &path, &concrete, |r| r.header("idempotency-key", "")).await;
        p.ask(&api, Method::POST, &path, &concrete, |r| r.body("x".repeat(70_000))).await;
    }
    // GitHub and AWS are unreachable.
    for (path, body) in &bodies[..2] {
        p.ask(&alone, Method::POST, path, path, |r| r.json(body)).await;
    }
    for (method, path) in &plain {
        p.ask(
            &away,
            method.clone(),
            path,
            &path.replace("{id}", &id).replace("{name}", "dora").replace("{delivery}", DELIVERY),
            cookie,
        )
        .await;
    }
    // The deployment does not exist, is archived, or is not ready yet.
    let mut archived = Fixture::begin_of(&db.db, "acme", "old").await;
    archived.fail().await;
    let archived = db.db.archive_deployments(&[archived.id().to_owned()]).await.unwrap().remove(0);
    p.ask(&api, Method::PUT, outcome, &outcome_of(&archived), |r| r.json(&marked)).await;
    for (method, path) in [
        (Method::GET, "/api/v1/deploy/{id}/result"),
        (Method::GET, "/api/v1/deploy/{id}/log"),
        (Method::GET, "/api/v1/deploy/{id}/replay"),
        (Method::POST, "/api/v1/deploy/{id}/switch"),
        (Method::POST, "/api/v1/deploy/{id}/cancel"),
        (Method::POST, "/api/v1/deploy/{id}/retry"),
        (Method::POST, "/api/v1/deploy/{id}/rollback"),
        (Method::POST, "/api/v1/deploy/{id}/ticket"),
        (Method::GET, "/api/v1/deploy/{id}/events"),
        (Method::DELETE, "/api/v1/connections/{id}"),
        (Method::POST, "/api/v1/connect/aws/{id}/check"),
        (Method::GET, "/api/v1/connect/aws/{id}/rule-role"),
        (Method::POST, "/api/v1/connect/aws/{id}/rule-role"),
        (Method::GET, "/api/v1/connect/github/{id}/secrets"),
        (Method::DELETE, "/api/v1/connect/github/{id}/secrets/{name}"),
        (Method::GET, "/api/v1/schedules/{id}"),
        (Method::DELETE, "/api/v1/schedules/{id}"),
        (Method::GET, "/api/v1/schedules/{id}/runs"),
        (Method::POST, "/api/v1/schedules/{id}/run"),
        (Method::DELETE, "/api/v1/revocations/{id}"),
        (Method::DELETE, "/api/v1/tokens/{id}"),
        (Method::DELETE, "/api/v1/freezes/{id}"),
        (Method::GET, "/api/v1/webhooks/{id}"),
        (Method::DELETE, "/api/v1/webhooks/{id}"),
        (Method::POST, "/api/v1/webhooks/{id}/test"),
        (Method::GET, "/api/v1/webhooks/{id}/deliveries"),
        (Method::POST, "/api/v1/webhooks/{id}/deliveries/{delivery}/replay"),
        (Method::GET, "/api/v1/channels/{id}"),
        (Method::DELETE, "/api/v1/channels/{id}"),
        (Method::POST, "/api/v1/channels/{id}/test"),
        (Method::GET, "/api/v1/channels/{id}/deliveries"),
        (Method::POST, "/api/v1/channels/{id}/deliveries/{delivery}/replay"),
        (Method::GET, "/api/v1/hooks/{id}"),
        (Method::DELETE, "/api/v1/hooks/{id}"),
        (Method::GET, "/api/v1/hooks/{id}/deliveries"),
        (Method::POST, "/api/v1/hooks/{id}/deliveries/{delivery}/redelivery"),
        (Method::DELETE, "/api/v1/github-apps/{id}"),
    ] {
        let path_of = |id: &str| path.replace("{id}", id).replace("{name}", "dora").replace("{delivery}", DELIVERY);
        p.ask(&api, method.clone(), path, &path_of("dep_unknown"), |r| r).await;
        p.ask(&api, method, path, &path_of(&archived), |r| r).await;
    }
    let used = running.deployment().github_connection_id.clone();
    p.ask(&api, Method::DELETE, "/api/v1/connections/{id}", &format!("/api/v1/connections/{used}"), |r| r).await;
    p.ask(&api, Method::POST, "/api/v1/deploy/{id}/switch", &format!("/api/v1/deploy/{id}/switch"), |r| r).await;
    p.ask(&api, Method::POST, "/api/v1/deploy/{id}/retry", &format!("/api/v1/deploy/{id}/retry"), |r| r).await;
    p.ask(&api, Method::POST, "/api/v1/deploy/{id}/rollback", &format!("/api/v1/deploy/{id}/rollback"), |r| r).await;
    running.fail().await;
    p.ask(&api, Method::POST, "/api/v1/deploy/{id}/cancel", &format!("/api/v1/deploy/{id}/cancel"), |r| r).await;
    p.ask(&api, Method::GET, "/api/v1/deploy/current", "/api/v1/deploy/current", |r| r).await;
    // An anonymous caller, and a viewer.
    let guarded = Api::serve_with(&db.db, &there, &["--auth=required"]).await;
    let viewer = Token::of(&db.db, Role::Viewer).await;
    let document = serde_json::to_value(panda::http::document()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api/")) {
        let concrete =
            path.replace("{id}", &id).replace("{name}", "dora").replace("{owner}", "acme").replace("{repo}", "shop");
        let concrete = concrete.replace("{delivery}", DELIVERY);
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            if !operation["responses"]["401"].is_null() {
                p.ask(&guarded, method.clone(), path, &concrete, |r| r).await;
            }
            // A viewer may open a session and a stream: only the middleware refuses those.
            let for_viewers = path.ends_with("/session") || path.ends_with("/ticket");
            if !operation["responses"]["403"].is_null() && !for_viewers {
                p.ask(&guarded, method, path, &concrete, |r| r.bearer_auth(&viewer.secret)).await;
            }
        }
    }
    let away = Api::serve_with(&unreachable_db(), &there, &["--auth=required"]).await;
    p.ask(&away, Method::POST, "/api/v1/session", "/api/v1/session", |r| r.bearer_auth(format!("panda_{:064x}", 1)))
        .await;
    p.ask(&away, Method::GET, check, check, |r| r.bearer_auth(format!("panda_{:064x}", 1))).await;
    p.ask(&away, Method::GET, "/api/v1/reports", "/api/v1/reports", |r| r.bearer_auth(format!("panda_{:064x}", 1)))
        .await;
    // One key with two bodies; one ECR repository for two sources.
    let (deploy, body) = &bodies[2];
    assert_eq!(keyed(api.request(Method::POST, deploy)).json(body).send().await.unwrap().status(), 200);
    let mut other = body.clone();
    other["branch"] = json!("other");
    for (path, body) in &bodies[..2] {
        assert_eq!(keyed(api.request(Method::POST, path)).json(body).send().await.unwrap().status(), 200);
        let mut other = body.clone();
        for (name, value) in other.as_object_mut().unwrap() {
            if name != "region" {
                *value = json!("AKIAOTHEROTHEROTHER0");
            }
        }
        p.ask(&api, Method::POST, path, path, |r| keyed(r).json(&other)).await;
    }
    let (maintenance, body) = &bodies[4];
    assert_eq!(keyed(api.request(Method::POST, maintenance)).json(body).send().await.unwrap().status(), 200);
    p.ask(&api, Method::POST, maintenance, maintenance, |r| keyed(r).json(&json!({"kind": "runs"}))).await;
    let mut ready = Fixture::begin_of(&db.db, "acme", "other").await;
    ready.ready().await;
    let mut earlier = Fixture::begin_of(&db.db, "acme", "kept").await;
    earlier.learn(Facts { image_digest: Some("sha256:a".to_owned()), ..Facts::default() }).await;
    earlier.complete().await;
    let mut live = Fixture::begin_at(&db.db, "acme", "kept", earlier.account()).await;
    live.complete().await;
    let unknown = json!({"to": "dep_unknown"});
    let (path, concrete) = ("/api/v1/deploy/{id}/rollback", format!("/api/v1/deploy/{}/rollback", live.id()));
    p.ask(&api, Method::POST, path, &concrete, |r| r.json(&unknown)).await;
    for (command, of) in [("switch", ready.id()), ("cancel", ready.id()), ("retry", &id), ("rollback", live.id())] {
        let (path, concrete) = (format!("/api/v1/deploy/{{id}}/{command}"), format!("/api/v1/deploy/{of}/{command}"));
        assert_eq!(keyed(api.request(Method::POST, &concrete)).send().await.unwrap().status(), 200);
        p.ask(&api, Method::POST, &path, &concrete, |r| keyed(r).json(&json!({"reason": "other"}))).await;
    }
    p.ask(&api, Method::POST, deploy, deploy, |r| keyed(r).json(&other)).await;
    p.ask(&api, Method::POST, &run, &run_this, |r| r).await;
    let cancel_all =
        "UPDATE deployments SET status = 'FAILED', error_code = 'CANCELLED', completed_at = now(), watched = false";
    db.psql().await.execute(cancel_all).await.unwrap();
    let (schedules, body) = &bodies[3];
    let (tokens, token) = &bodies[6];
    let (freezes, freeze) = &bodies[7];
    for (path, body) in [(*schedules, body), (run_this.as_str(), &json!({})), (*tokens, token), (*freezes, freeze)] {
        assert_eq!(keyed(api.request(Method::POST, path)).json(body).send().await.unwrap().status(), 200, "{path}");
    }
    p.ask(&api, Method::POST, schedules, schedules, |r| {
        keyed(r).json(&json!({"cron": "@daily", "deploy": body["deploy"]}))
    })
    .await;
    p.ask(&api, Method::POST, &run, &run_this, |r| keyed(r).json(&json!({"why": "other"}))).await;
    let another = json!({"name": "other", "role": "viewer"});
    p.ask(&api, Method::POST, tokens, tokens, |r| keyed(r).json(&another)).await;
    let shorter = json!({"scope": "owner:toys", "reason": "sale", "endsAt": ahead(30)});
    p.ask(&api, Method::POST, freezes, freezes, |r| keyed(r).json(&shorter)).await;
    let many = "INSERT INTO freezes (id, scope, holds, reason, created_by, starts_at, ends_at)
                SELECT 'frz_' || n, 'owner:toys', 'both', 'x', 'x', now(), now() + interval '1 hour' FROM generate_series(1, 500) AS n";
    db.psql().await.execute(many).await.unwrap();
    p.ask(&api, Method::POST, freezes, freezes, |r| r.json(freeze)).await;
    let unreachable = Api::serve_with(&unreachable_db(), &there, &[]).await;
    let on = Servers { db: &db, api: &api, alone: &alone, unreachable: &unreachable, slow: &slow };
    let mut later = receivers::webhooks(p, &on, &bodies[8].1).await;
    later.extend(receivers::channels(p, &on, &bodies[9].1).await);
    later.extend(push_hooks::provoke(p, &on, &bodies[10].1).await);
    push_hooks::apps(p, &on, bodies[0].0).await;
    Fixture::begin_at(&db.db, "a", "b-c", "123456789012").await;
    other["githubConnectionId"] = json!(fixture::github_connection(&db.db, "a-b", "c").await);
    (other["owner"], other["repo"]) = (json!("a-b"), json!("c"));
    p.ask(&api, Method::POST, deploy, deploy, |r| r.json(&other)).await;
    // Every statement fails permanently. (Not by a missing table: that means that the schema is not migrated yet.)
    let broken = "DO $$ DECLARE t text; BEGIN
        FOREACH t IN ARRAY '{deployments,github_connections,aws_connections,schedules,sessions,audit,stream_tickets,maintenance_runs,log_filter,revoked_subjects,api_tokens,freezes,policies,receivers,receiver_secrets,receiver_deliveries,receiver_cursors,receiver_references,push_hooks,push_hook_secrets,push_deliveries,github_apps,_sqlx_migrations}'::text[] LOOP
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
            EXECUTE format('CREATE POLICY broken ON %I USING (1 / 0 = 1) WITH CHECK (1 / 0 = 1)', t);
        END LOOP;
        FOR t IN SELECT viewname FROM pg_views WHERE schemaname = 'panda_report' LOOP
            EXECUTE format('ALTER VIEW panda_report.%I RENAME TO %I', t, 'kept_' || t);
            EXECUTE format('CREATE VIEW panda_report.%I AS SELECT * FROM panda_report.%I WHERE 1 / 0 = 1', t, 'kept_' || t);
        END LOOP; END $$";
    db.psql().await.execute(broken).await.unwrap();
    for (path, body) in &bodies {
        p.ask(&api, Method::POST, path, path, |r| r.json(body)).await;
    }
    p.ask(&api, Method::PATCH, one, &this, |r| r.json(&change)).await;
    p.ask(&api, Method::PUT, log, log, |r| r.json(&filter)).await;
    for request in &later {
        p.ask(&api, request.method.clone(), request.path, &request.concrete, &request.fill).await;
    }
    p.ask(&api, Method::PUT, policy, of_shop, |r| r.json(&json!({}))).await;
    p.ask(&api, Method::GET, policy, of_shop, |r| r).await;
    p.ask(&api, Method::PUT, outcome, &outcome_of(&id), |r| r.json(&marked)).await;
    p.ask(&api, Method::PUT, secret, &named(&github, "npm"), |r| r.json(&value)).await;
    for (path, connection, body, _) in &renewals {
        p.ask(&api, Method::PUT, path, &path.replace("{id}", connection), |r| r.json(body)).await;
    }
    for (method, path) in &plain {
        p.ask(
            &api,
            method.clone(),
            path,
            &path.replace("{id}", &id).replace("{name}", "dora").replace("{delivery}", DELIVERY),
            cookie,
        )
        .await;
    }
    p.ask(&guarded, Method::POST, "/api/v1/session", "/api/v1/session", |r| r.bearer_auth(&viewer.secret)).await;

    let mut promised = promised(&serde_json::to_value(panda::http::document()).unwrap());
    promised.retain(|_, statuses| !statuses.is_empty());
    assert_eq!(provoker.seen, promised);
}
