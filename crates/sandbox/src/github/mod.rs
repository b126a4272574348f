//! The GitHub REST calls that Panda makes, with the same repositories and tokens as the git server, on one listener: those for connecting here,
//! deployments and commit statuses in `deployments`.
//!
//! Uses the URL layout of a GitHub Enterprise server: REST below `/api/v3`, repositories at the root. Response bodies, status codes and error
//! bodies follow <https://docs.github.com/rest>, as far as they are used.

pub mod app;
mod deployments;
pub mod manifest;

use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::RwLock;
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::git::{self, AccessRefusal, Credential, GitError, Repositories, Repository};
use app::InstalledApp;
use deployments::Records;
use manifest::{CreatedApp, CreatedApps};

const RATE_LIMIT: u32 = 5000;
const RATE_WINDOW_SECONDS: i64 = 3600;
const DOCS: &str = "https://docs.github.com/rest";

/// Injected faults of the simulated GitHub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GitHubFaults {
    /// Every REST call answers 403, because the hourly rate limit is exceeded.
    pub rate_limited: bool,
    /// Every request answers 503, fetches included.
    pub unavailable: bool,
    /// Calls that change something answer 403: the token may only read.
    pub read_only: bool,
    /// Seconds by which GitHub's clock is ahead of this machine's, whose clock is then slow; negative for behind.
    pub clock_ahead: i64,
}

/// A running GitHub simulation; stops when dropped.
#[derive(Debug)]
pub struct GitHub {
    address: SocketAddr,
    repositories: Repositories,
    faults: Arc<RwLock<GitHubFaults>>,
    records: Arc<RwLock<Records>>,
    app: Arc<RwLock<Option<InstalledApp>>>,
    created: Arc<RwLock<CreatedApps>>,
    _serving: AbortOnDropHandle<()>,
}

impl GitHub {
    /// Serves the repositories in the folder `root` on `listener`.
    pub async fn start(listener: TcpListener, root: &FilePath) -> Result<Self, GitError> {
        let repositories = Repositories::open(root).await?;
        let address = listener.local_addr().map_err(|source| GitError::File { path: "listener".into(), source })?;
        let faults = Arc::<RwLock<GitHubFaults>>::default();
        let records = Arc::<RwLock<Records>>::default();
        let app_slot = Arc::<RwLock<Option<InstalledApp>>>::default();
        let created = Arc::<RwLock<CreatedApps>>::default();
        let state = Api {
            repositories: repositories.clone(),
            faults: Arc::clone(&faults),
            records: Arc::clone(&records),
            app: Arc::clone(&app_slot),
            created: Arc::clone(&created),
            address,
        };
        let app = Router::new()
            .nest("/api/v3", api(&state))
            .merge(manifest::pages().with_state(state.clone()))
            .merge(git::router(repositories.clone()))
            .layer(middleware::from_fn_with_state(state, unavailable));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "sandbox's GitHub server ended");
            }
        });
        let serving = AbortOnDropHandle::new(serving);
        Ok(Self { address, repositories, faults, records, app: app_slot, created, _serving: serving })
    }

    /// Base URL of REST calls, without a trailing slash.
    pub fn api_url(&self) -> String {
        format!("http://{}/api/v3", self.address)
    }

    /// Base URL of `/{owner}/{repo}.git`, without a trailing slash.
    pub fn git_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The repositories, for adding more.
    pub fn repositories(&self) -> &Repositories {
        &self.repositories
    }

    /// Deployments of a repository with their statuses in the member `statuses`, the oldest first, as the API shows them.
    pub fn deployments(&self, full_name: &str) -> Vec<Value> {
        self.records.read().deployments_of(full_name)
    }

    /// Statuses of a repository's commits, the oldest first, as the API shows them; the member `sha` has the commit.
    pub fn commit_statuses(&self, full_name: &str) -> Vec<Value> {
        self.records.read().commit_statuses_of(full_name)
    }

    /// Installs an App in place of the one before.
    pub fn install(&self, app: InstalledApp) {
        *self.app.write() = Some(app);
    }

    /// Number of tokens that the App has requested since it was installed.
    pub fn installation_tokens(&self) -> usize {
        self.app.read().as_ref().map_or(0, |app| app.created)
    }

    /// Apps that were created from a manifest, the oldest first.
    pub fn created_apps(&self) -> Vec<CreatedApp> {
        self.created.read().0.clone()
    }

    /// Replaces the faults, from the next request on.
    pub fn set_faults(&self, faults: GitHubFaults) {
        *self.faults.write() = faults;
    }
}

#[derive(Clone)]
struct Api {
    repositories: Repositories,
    faults: Arc<RwLock<GitHubFaults>>,
    records: Arc<RwLock<Records>>,
    app: Arc<RwLock<Option<InstalledApp>>>,
    created: Arc<RwLock<CreatedApps>>,
    address: SocketAddr,
}

impl Api {
    fn faults(&self) -> GitHubFaults {
        *self.faults.read()
    }

    fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::seconds(self.faults().clock_ahead)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn api(state: &Api) -> Router {
    Router::new()
        .route("/user", get(user))
        .route("/repos/{owner}/{repo}", get(repository))
        .route("/app/installations/{id}/access_tokens", post(create_installation_token))
        // A branch may contain slashes, encoded or not.
        .route("/repos/{owner}/{repo}/branches/{*branch}", get(branch))
        .merge(deployments::router())
        .merge(manifest::router())
        .fallback(async || problem(StatusCode::NOT_FOUND, "Not Found"))
        .layer(middleware::from_fn_with_state(state.clone(), limits))
        .with_state(state.clone())
}

async fn unavailable(State(api): State<Api>, request: Request, next: Next) -> Response {
    if api.faults().unavailable {
        return (StatusCode::SERVICE_UNAVAILABLE, "No server is currently available to service your request.")
            .into_response();
    }
    next.run(request).await
}

/// Checks that GitHub makes before it routes a call, and the headers that it adds to every response.
async fn limits(State(api): State<Api>, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(header::USER_AGENT) {
        let message =
            "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.";
        return (StatusCode::FORBIDDEN, message).into_response();
    }
    let limited = api.faults().rate_limited;
    let mut response = if limited {
        problem(StatusCode::FORBIDDEN, "API rate limit exceeded for user ID 1.")
    } else {
        next.run(request).await
    };
    if api.faults().clock_ahead != 0
        && let Ok(date) = api.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string().parse()
    {
        response.headers_mut().insert(header::DATE, date);
    }
    let remaining = if limited { 0 } else { RATE_LIMIT - 1 };
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", RATE_LIMIT.into());
    headers.insert("x-ratelimit-remaining", remaining.into());
    headers.insert("x-ratelimit-reset", (Utc::now().timestamp() + RATE_WINDOW_SECONDS).into());
    headers.insert("x-ratelimit-resource", HeaderValue::from_static("core"));
    response
}

async fn user(State(api): State<Api>, headers: HeaderMap) -> Response {
    let token = match token(&headers) {
        Ok(Some(token)) => token,
        Ok(None) => return problem(StatusCode::UNAUTHORIZED, "Requires authentication"),
        Err(refused) => return *refused,
    };
    match api.repositories.user_of(&token) {
        Some(login) => Json(account(&api, &login)).into_response(),
        None => refuse(AccessRefusal::BadCredentials),
    }
}

/// <https://docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app>
async fn create_installation_token(State(api): State<Api>, Path(id): Path<u64>, headers: HeaderMap) -> Response {
    let assertion = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let mut slot = api.app.write();
    let Some(app) = slot.as_mut() else { return problem(StatusCode::NOT_FOUND, "Integration not found") };
    let token = match app.create_token(id, assertion, api.now()) {
        Ok(token) => token,
        Err((status, message)) => return problem(status, message),
    };
    api.repositories.add_installation_token(&token, &app.owner);
    let expires_at = (Utc::now() + TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let body = json!({ "token": token, "expires_at": expires_at, "permissions": { "contents": "read", "metadata": "read" },
                       "repository_selection": "all" });
    (StatusCode::CREATED, Json(body)).into_response()
}

async fn repository(
    State(api): State<Api>,
    Path((owner, repo)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    match visible(&api, &owner, &repo, &headers) {
        Ok(repository) => Json(describe(&api, &repository)).into_response(),
        Err(refused) => *refused,
    }
}

async fn branch(
    State(api): State<Api>,
    Path((owner, repo, branch)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let repository = match visible(&api, &owner, &repo, &headers) {
        Ok(repository) => repository,
        Err(refused) => return *refused,
    };
    let head = match api.repositories.head(&repository.owner, &repository.name, &branch).await {
        Ok(head) => head,
        Err(GitError::UnknownBranch { .. }) => return problem(StatusCode::NOT_FOUND, "Branch not found"),
        Err(error) => {
            tracing::warn!(%error, "sandbox's GitHub server could not read a repository");
            return problem(StatusCode::INTERNAL_SERVER_ERROR, "Server Error");
        }
    };
    let base = api.url(&format!("/api/v3/repos/{}", repository.full_name()));
    let who = json!({ "name": "Panda sandbox", "email": "sandbox@localhost", "date": head.time.format("%Y-%m-%dT%H:%M:%SZ").to_string() });
    Json(json!({
        "name": branch,
        "commit": {
            "sha": head.sha,
            "url": format!("{base}/commits/{}", head.sha),
            "commit": {
                "author": who,
                "committer": who,
                "message": head.message,
                "tree": { "sha": head.tree, "url": format!("{base}/git/trees/{}", head.tree) },
            },
        },
        "protected": false,
        "protection": { "enabled": false, "required_status_checks": { "enforcement_level": "off", "contexts": [], "checks": [] } },
    }))
    .into_response()
}

/// Boxed: a response is large, and most calls succeed.
type Refused = Box<Response>;

fn token(headers: &HeaderMap) -> Result<Option<SecretString>, Refused> {
    match git::credential(headers) {
        Credential::None => Ok(None),
        Credential::Token(token) => Ok(Some(token)),
        Credential::Unreadable => Err(Box::new(refuse(AccessRefusal::BadCredentials))),
    }
}

fn visible(api: &Api, owner: &str, repo: &str, headers: &HeaderMap) -> Result<Repository, Refused> {
    let token = token(headers)?;
    api.repositories.access(owner, repo, token.as_ref()).map_err(|refusal| Box::new(refuse(refusal)))
}

fn refuse(refusal: AccessRefusal) -> Response {
    match refusal {
        AccessRefusal::BadCredentials => problem(StatusCode::UNAUTHORIZED, "Bad credentials"),
        AccessRefusal::NotFound => problem(StatusCode::NOT_FOUND, "Not Found"),
    }
}

fn problem(status: StatusCode, message: &str) -> Response {
    let body = json!({ "message": message, "documentation_url": DOCS, "status": status.as_str() });
    (status, Json(body)).into_response()
}

fn account(api: &Api, login: &str) -> Value {
    let url = api.url(&format!("/api/v3/users/{login}"));
    json!({
        "login": login,
        "id": stable_id(login),
        "node_id": node_id("U", u64::from(stable_id(login))),
        "avatar_url": api.url(&format!("/avatars/{login}")),
        "gravatar_id": "",
        "type": "User",
        "site_admin": false,
        "url": url,
        "html_url": api.url(&format!("/{login}")),
        "followers_url": format!("{url}/followers"),
        "following_url": format!("{url}/following{{/other_user}}"),
        "gists_url": format!("{url}/gists{{/gist_id}}"),
        "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"),
        "subscriptions_url": format!("{url}/subscriptions"),
        "organizations_url": format!("{url}/orgs"),
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events{{/privacy}}"),
        "received_events_url": format!("{url}/received_events"),
    })
}

/// Derives a global id from a type's prefix and a number.
fn node_id(prefix: &str, id: u64) -> String {
    format!("{prefix}_{id:016x}")
}

fn describe(api: &Api, repository: &Repository) -> Value {
    let full_name = repository.full_name();
    json!({
        "id": stable_id(&full_name),
        "name": repository.name,
        "full_name": full_name,
        "private": repository.is_private(),
        "visibility": if repository.is_private() { "private" } else { "public" },
        "owner": account(api, &repository.owner),
        "default_branch": repository.default_branch,
        "url": api.url(&format!("/api/v3/repos/{full_name}")),
        "html_url": api.url(&format!("/{full_name}")),
        "clone_url": api.url(&format!("/{full_name}.git")),
        "archived": false,
        "disabled": false,
        "permissions": { "admin": false, "maintain": false, "push": false, "triage": false, "pull": true },
    })
}

/// Derives a stable id from a name: the same in every run.
fn stable_id(name: &str) -> u32 {
    let digest = Sha256::digest(name.to_lowercase().as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}
