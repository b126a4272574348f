//! A smart-HTTP git server for local bare repositories, compatible with GitHub's: `git http-backend` behind a token check.
//!
//! Supports only fetches. Looks up names of a URL among the known repositories, and never uses them as a path.

mod backend;
mod error;
mod repositories;
mod source;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::SecretString;
use serde::Deserialize;

pub use error::{AccessRefusal, GitError};
pub use repositories::{Head, Repositories, Repository};
pub use source::SourceFile;

/// Serves `/{owner}/{repo}[.git]/info/refs` and `…/git-upload-pack`.
pub fn router(repositories: Repositories) -> Router {
    Router::new()
        .route("/{owner}/{repo}/info/refs", get(info_refs))
        .route("/{owner}/{repo}/git-upload-pack", post(upload_pack))
        .with_state(repositories)
}

#[derive(Deserialize)]
struct Service {
    service: Option<String>,
}

async fn info_refs(
    State(repositories): State<Repositories>,
    Path((owner, repo)): Path<(String, String)>,
    Query(Service { service }): Query<Service>,
    request: Request,
) -> Response {
    match service.as_deref() {
        Some("git-upload-pack") => {}
        Some("git-receive-pack") => return text(StatusCode::FORBIDDEN, "This server is for fetching only."),
        _ => return text(StatusCode::FORBIDDEN, "Please upgrade your git client: only the smart protocol is served."),
    }
    serve(&repositories, &owner, &repo, "info/refs", "service=git-upload-pack", request).await
}

async fn upload_pack(
    State(repositories): State<Repositories>,
    Path((owner, repo)): Path<(String, String)>,
    request: Request,
) -> Response {
    serve(&repositories, &owner, &repo, "git-upload-pack", "", request).await
}

async fn serve(
    repositories: &Repositories,
    owner: &str,
    repo: &str,
    service: &'static str,
    query: &'static str,
    request: Request<Body>,
) -> Response {
    let token = match credential(request.headers()) {
        Credential::None => None,
        Credential::Token(token) => Some(token),
        Credential::Unreadable => return unauthorised("Invalid username or token."),
    };
    let repo = repo.strip_suffix(".git").unwrap_or(repo);
    match repositories.access(owner, repo, token.as_ref()) {
        Ok(repository) => backend::run(repositories, &repository, service, query, request).await,
        // Without a token, do not reveal that a private repository exists.
        Err(AccessRefusal::NotFound) if token.is_some() => text(StatusCode::NOT_FOUND, "Repository not found."),
        Err(AccessRefusal::NotFound) => unauthorised("Authentication required."),
        Err(AccessRefusal::BadCredentials) => unauthorised("Invalid username or token."),
    }
}

fn unauthorised(message: &'static str) -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"GitHub\"")], message).into_response()
}

fn text(status: StatusCode, message: &'static str) -> Response {
    (status, message).into_response()
}

/// The credential of a request.
pub(crate) enum Credential {
    None,
    /// A bearer token, or the password of basic authentication, whose user name is ignored.
    Token(SecretString),
    /// A header that cannot be parsed.
    Unreadable,
}

pub(crate) fn credential(headers: &HeaderMap) -> Credential {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Credential::None };
    let Some((scheme, rest)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return Credential::Unreadable;
    };
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "token" => Credential::Token(rest.trim().into()),
        "basic" => BASE64_STANDARD
            .decode(rest.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|pair| pair.split_once(':').map(|(_, password)| Credential::Token(password.into())))
            .unwrap_or(Credential::Unreadable),
        _ => Credential::Unreadable,
    }
}
