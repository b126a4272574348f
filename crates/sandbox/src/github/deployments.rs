//! Deployments with their statuses, and statuses of commits, as GitHub's REST API keeps and shows them.
//!
//! A test validates requests and answers with GitHub's OpenAPI description (`tests/it/clients/github/deployments.rs`).

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, Refused, account, node_id, problem, token, visible};
use crate::git::Repository;

/// Longest description of a status, in characters.
const MAX_DESCRIPTION: usize = 140;

/// Most statuses of a commit with one context.
const MAX_COMMIT_STATUSES: usize = 1_000;

const DEPLOYMENT_STATES: [&str; 7] = ["error", "failure", "inactive", "in_progress", "queued", "pending", "success"];

const COMMIT_STATES: [&str; 4] = ["error", "failure", "pending", "success"];

/// Everything that was recorded.
#[derive(Debug, Default)]
pub(super) struct Records {
    last_id: u64,
    deployments: Vec<Deployment>,
    commit_statuses: Vec<(String, Value)>,
}

#[derive(Debug)]
struct Deployment {
    repository: String,
    id: u64,
    shown: Value,
    statuses: Vec<Value>,
}

impl Records {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn deployments_of(&self, full_name: &str) -> Vec<Value> {
        let of = self.deployments.iter().filter(|one| one.repository.eq_ignore_ascii_case(full_name));
        of.map(|one| {
            let mut shown = one.shown.clone();
            shown["statuses"] = json!(one.statuses);
            shown
        })
        .collect()
    }

    pub(super) fn commit_statuses_of(&self, full_name: &str) -> Vec<Value> {
        let of = self.commit_statuses.iter().filter(|(repository, _)| repository.eq_ignore_ascii_case(full_name));
        of.map(|(_, status)| status.clone()).collect()
    }
}

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/repos/{owner}/{repo}/deployments", get(list).post(create))
        .route("/repos/{owner}/{repo}/deployments/{id}/statuses", get(list_statuses).post(create_status))
        .route("/repos/{owner}/{repo}/statuses/{sha}", post(create_commit_status))
        .route("/repos/{owner}/{repo}/commits/{sha}/statuses", get(list_commit_statuses))
}

#[derive(Deserialize)]
struct Filter {
    sha: Option<String>,
    environment: Option<String>,
    task: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    per_page: Option<usize>,
    page: Option<usize>,
}

impl Filter {
    /// The page of a list, the newest first.
    fn page(&self, oldest_first: impl DoubleEndedIterator<Item = Value>) -> Response {
        let size = self.per_page.unwrap_or(30).clamp(1, 100);
        let before = size * self.page.unwrap_or(1).saturating_sub(1);
        Json(oldest_first.rev().skip(before).take(size).collect::<Vec<_>>()).into_response()
    }

    fn wants(&self, shown: &Value) -> bool {
        let members =
            [("sha", &self.sha), ("environment", &self.environment), ("task", &self.task), ("ref", &self.reference)];
        members.iter().all(|(name, wanted)| wanted.as_ref().is_none_or(|wanted| shown[*name] == **wanted))
    }
}

async fn list(
    State(api): State<Api>,
    Path((owner, repo)): Path<(String, String)>,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Response {
    let repository = match visible(&api, &owner, &repo, &headers) {
        Ok(repository) => repository.full_name(),
        Err(refused) => return *refused,
    };
    let records = api.records.read();
    let of = records.deployments.iter().filter(|one| one.repository == repository && filter.wants(&one.shown));
    filter.page(of.map(|one| one.shown.clone()))
}

#[derive(Deserialize)]
struct NewDeployment {
    #[serde(rename = "ref")]
    reference: String,
    task: Option<String>,
    required_contexts: Option<Vec<String>>,
    #[serde(default)]
    payload: Value,
    environment: Option<String>,
    description: Option<String>,
    #[serde(default)]
    transient_environment: bool,
    production_environment: Option<bool>,
}

async fn create(
    State(api): State<Api>,
    Path((owner, repo)): Path<(String, String)>,
    headers: HeaderMap,
    body: Json<NewDeployment>,
) -> Response {
    let (repository, login) = match writable(&api, &owner, &repo, &headers) {
        Ok(found) => found,
        Err(refused) => return *refused,
    };
    let new = body.0;
    let sha = match api.repositories.commit_of(&owner, &repo, &new.reference).await {
        Ok(Some(sha)) => sha,
        Ok(None) => return unprocessable(&format!("No ref found for: {}", new.reference)),
        Err(error) => return problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    let mut records = api.records.write();
    if !contexts_hold(&records, &repository, &sha, new.required_contexts.as_deref()) {
        let message = format!("Conflict: Commit status checks failed for {}.", new.reference);
        return problem(StatusCode::CONFLICT, &message);
    }
    let id = records.next_id();
    let environment = new.environment.unwrap_or_else(|| "production".to_owned());
    let production = new.production_environment.unwrap_or(environment == "production");
    let base = api.url(&format!("/api/v3/repos/{}", repository.full_name()));
    let url = format!("{base}/deployments/{id}");
    let at = now();
    let shown = json!({
        "url": url,
        "id": id,
        "node_id": node_id("DE", id),
        "sha": sha,
        "ref": new.reference,
        "task": new.task.unwrap_or_else(|| "deploy".to_owned()),
        "payload": if new.payload.is_null() { json!({}) } else { new.payload },
        "original_environment": environment,
        "environment": environment,
        "description": new.description,
        "creator": account(&api, &login),
        "created_at": at,
        "updated_at": at,
        "statuses_url": format!("{url}/statuses"),
        "repository_url": base,
        "transient_environment": new.transient_environment,
        "production_environment": production,
    });
    let repository = repository.full_name();
    records.deployments.push(Deployment { repository, id, shown: shown.clone(), statuses: Vec::new() });
    (StatusCode::CREATED, Json(shown)).into_response()
}

/// GitHub creates a deployment only when the newest statuses of its commit succeeded, in the contexts that the request names; in all by default.
fn contexts_hold(records: &Records, repository: &Repository, sha: &str, required: Option<&[String]>) -> bool {
    let mut newest = std::collections::HashMap::new();
    for status in records.commit_statuses_of(&repository.full_name()) {
        if status["sha"] == sha {
            newest.insert(status["context"].to_string(), status["state"].clone());
        }
    }
    match required {
        Some(contexts) => contexts.iter().all(|one| newest.get(&json!(one).to_string()) == Some(&json!("success"))),
        None => newest.values().all(|state| *state == json!("success")),
    }
}

async fn list_statuses(
    State(api): State<Api>,
    Path((owner, repo, id)): Path<(String, String, u64)>,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Response {
    let repository = match visible(&api, &owner, &repo, &headers) {
        Ok(repository) => repository.full_name(),
        Err(refused) => return *refused,
    };
    let records = api.records.read();
    match records.deployments.iter().find(|one| one.repository == repository && one.id == id) {
        Some(deployment) => filter.page(deployment.statuses.iter().cloned()),
        None => problem(StatusCode::NOT_FOUND, "Not Found"),
    }
}

#[derive(Deserialize)]
struct NewStatus {
    state: String,
    log_url: Option<String>,
    target_url: Option<String>,
    description: Option<String>,
    environment: Option<String>,
    environment_url: Option<String>,
    auto_inactive: Option<bool>,
}

impl NewStatus {
    fn refusal(&self) -> Option<Response> {
        if !DEPLOYMENT_STATES.contains(&self.state.as_str()) {
            return Some(unprocessable("Validation Failed: state is not included in the list"));
        }
        let urls = [&self.log_url, &self.target_url, &self.environment_url];
        refusal(self.description.as_deref(), &urls)
    }

    fn shown(&self, api: &Api, id: u64, deployment: &Value, login: &str) -> Value {
        let at = now();
        let url = deployment["url"].as_str().unwrap_or_default();
        let log_url = self.log_url.as_ref().or(self.target_url.as_ref());
        json!({
            "url": format!("{url}/statuses/{id}"),
            "id": id,
            "node_id": node_id("DES", id),
            "state": self.state,
            "creator": account(api, login),
            "description": self.description.as_deref().unwrap_or_default(),
            "environment": self.environment.as_deref().or(deployment["environment"].as_str()),
            "target_url": log_url.map_or("", String::as_str),
            "log_url": log_url.map_or("", String::as_str),
            "environment_url": self.environment_url.as_deref().unwrap_or_default(),
            "created_at": at,
            "updated_at": at,
            "deployment_url": url,
            "repository_url": deployment["repository_url"],
        })
    }
}

async fn create_status(
    State(api): State<Api>,
    Path((owner, repo, id)): Path<(String, String, u64)>,
    headers: HeaderMap,
    body: Json<NewStatus>,
) -> Response {
    let (repository, login) = match writable(&api, &owner, &repo, &headers) {
        Ok(found) => found,
        Err(refused) => return *refused,
    };
    let new = body.0;
    if let Some(refusal) = new.refusal() {
        return refusal;
    }
    let full_name = repository.full_name();
    let mut records = api.records.write();
    let number = records.next_id();
    let Some(at) = records.deployments.iter().position(|one| one.repository == full_name && one.id == id) else {
        return problem(StatusCode::NOT_FOUND, "Not Found");
    };
    let status = new.shown(&api, number, &records.deployments[at].shown, &login);
    records.deployments[at].statuses.push(status.clone());
    if new.state == "success" && new.auto_inactive.unwrap_or(true) {
        end_earlier(&api, &mut records, at, &login);
    }
    (StatusCode::CREATED, Json(status)).into_response()
}

/// Ends earlier deployments of the environment, as `auto_inactive` does: not those of production, and only those that succeeded.
fn end_earlier(api: &Api, records: &mut Records, of: usize, login: &str) {
    let inactive: NewStatus = NewStatus {
        state: "inactive".to_owned(),
        log_url: None,
        target_url: None,
        description: None,
        environment: None,
        environment_url: None,
        auto_inactive: None,
    };
    let (repository, environment) =
        (records.deployments[of].repository.clone(), records.deployments[of].shown["environment"].clone());
    for at in 0..of {
        let earlier = &records.deployments[at];
        let is_same = earlier.repository == repository && earlier.shown["environment"] == environment;
        let is_kept = earlier.shown["production_environment"] == true || earlier.shown["transient_environment"] == true;
        if is_same && !is_kept && earlier.statuses.last().is_some_and(|status| status["state"] == "success") {
            let id = records.next_id();
            let status = inactive.shown(api, id, &records.deployments[at].shown, login);
            records.deployments[at].statuses.push(status);
        }
    }
}

#[derive(Deserialize)]
struct NewCommitStatus {
    state: String,
    target_url: Option<String>,
    description: Option<String>,
    context: Option<String>,
}

async fn create_commit_status(
    State(api): State<Api>,
    Path((owner, repo, sha)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Json<NewCommitStatus>,
) -> Response {
    let (repository, login) = match writable(&api, &owner, &repo, &headers) {
        Ok(found) => found,
        Err(refused) => return *refused,
    };
    let new = body.0;
    if !COMMIT_STATES.contains(&new.state.as_str()) {
        return unprocessable("Validation Failed: state is not included in the list");
    }
    if let Some(refusal) = refusal(new.description.as_deref(), &[&new.target_url]) {
        return refusal;
    }
    match api.repositories.commit_of(&owner, &repo, &sha).await {
        Ok(Some(_)) => {}
        Ok(None) => return unprocessable(&format!("No commit found for SHA: {sha}")),
        Err(error) => return problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
    let context = new.context.unwrap_or_else(|| "default".to_owned());
    let full_name = repository.full_name();
    let mut records = api.records.write();
    let same = records.commit_statuses_of(&full_name).into_iter();
    if same.filter(|one| one["sha"] == sha && one["context"] == context).count() >= MAX_COMMIT_STATUSES {
        return unprocessable("Validation Failed: this SHA and context has reached the maximum number of statuses");
    }
    let id = records.next_id();
    let at = now();
    let mut status = json!({
        "url": api.url(&format!("/api/v3/repos/{full_name}/statuses/{sha}")),
        "avatar_url": api.url(&format!("/avatars/{login}")),
        "id": id,
        "node_id": node_id("SC", id),
        "state": new.state,
        "description": new.description,
        "target_url": new.target_url,
        "context": context,
        "created_at": at,
        "updated_at": at,
        "creator": account(&api, &login),
    });
    let answer = status.clone();
    status["sha"] = json!(sha);
    records.commit_statuses.push((full_name, status));
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn list_commit_statuses(
    State(api): State<Api>,
    Path((owner, repo, sha)): Path<(String, String, String)>,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Response {
    let repository = match visible(&api, &owner, &repo, &headers) {
        Ok(repository) => repository.full_name(),
        Err(refused) => return *refused,
    };
    let of = api.records.read().commit_statuses_of(&repository).into_iter().filter(|one| one["sha"] == sha);
    let shown: Vec<Value> = of
        .map(|mut one| {
            one.as_object_mut().map(|members| members.remove("sha"));
            one
        })
        .collect();
    filter.page(shown.into_iter())
}

/// The repository and the token's user, if the token may change it.
fn writable(api: &Api, owner: &str, repo: &str, headers: &HeaderMap) -> Result<(Repository, String), Refused> {
    let repository = visible(api, owner, repo, headers)?;
    let login = token(headers)?.and_then(|token| api.repositories.user_of(&token));
    let Some(login) = login else {
        return Err(Box::new(problem(StatusCode::UNAUTHORIZED, "Requires authentication")));
    };
    if api.faults().read_only {
        let message = "Resource not accessible by personal access token";
        return Err(Box::new(problem(StatusCode::FORBIDDEN, message)));
    }
    Ok((repository, login))
}

fn refusal(description: Option<&str>, urls: &[&Option<String>]) -> Option<Response> {
    if description.is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
        return Some(unprocessable("Validation Failed: description is too long (maximum is 140 characters)"));
    }
    let is_url = |url: &str| url.is_empty() || url.starts_with("http://") || url.starts_with("https://");
    let broken = urls.iter().filter_map(|url| url.as_deref()).any(|url| !is_url(url));
    broken.then(|| unprocessable("Validation Failed: the URL must use http(s) scheme"))
}

fn unprocessable(message: &str) -> Response {
    problem(StatusCode::UNPROCESSABLE_ENTITY, message)
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}
