//! Runs `git http-backend` as a CGI program: one process per request, both bodies streamed.

use std::process::Stdio;
use std::str::FromStr as _;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio_util::io::{ReaderStream, StreamReader};
use tokio_util::task::AbortOnDropHandle;

use super::repositories::{Repositories, Repository};

/// Most bytes of the program's headers: it writes only a few short ones.
const HEADER_BYTES: u64 = 16 * 1024;
const STDERR_BYTES: u64 = 4 * 1024;

/// Ends the program when the client disconnects and drops the response.
struct Running {
    _child: Child,
    _feeding: AbortOnDropHandle<()>,
}

pub(super) async fn run(
    repositories: &Repositories,
    repository: &Repository,
    service: &'static str,
    query: &'static str,
    request: Request,
) -> Response {
    match answer(repositories, repository, service, query, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(repository = repository.full_name(), %error, "git http-backend failed");
            (StatusCode::INTERNAL_SERVER_ERROR, "git http-backend failed").into_response()
        }
    }
}

async fn answer(
    repositories: &Repositories,
    repository: &Repository,
    service: &'static str,
    query: &'static str,
    request: Request,
) -> std::io::Result<Response> {
    let mut command = Command::new(repositories.backend());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        // The machine's and the user's git settings must not change the responses.
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("HOME", "/nonexistent")])
        .env("GIT_PROJECT_ROOT", repositories.root())
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GATEWAY_INTERFACE", "CGI/1.1")
        .env("SERVER_PROTOCOL", "HTTP/1.1")
        .env("REQUEST_METHOD", request.method().as_str())
        .env("PATH_INFO", format!("/{}.git/{service}", repository.full_name()))
        .env("QUERY_STRING", query)
        .current_dir(repositories.root())
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, variable) in [
        (header::CONTENT_TYPE, "CONTENT_TYPE"),
        (header::CONTENT_LENGTH, "CONTENT_LENGTH"),
        (header::CONTENT_ENCODING, "HTTP_CONTENT_ENCODING"),
        (HeaderName::from_static("git-protocol"), "HTTP_GIT_PROTOCOL"),
    ] {
        if let Some(value) = request.headers().get(&name).and_then(|value| value.to_str().ok()) {
            command.env(variable, value);
            if variable == "HTTP_GIT_PROTOCOL" {
                // Before git 2.34 the web server had to set this variable.
                command.env("GIT_PROTOCOL", value);
            }
        }
    }
    let mut child = command.spawn()?;
    let lost = || std::io::Error::other("a pipe to the program is missing");
    let (mut stdin, stdout, stderr) =
        (child.stdin.take().ok_or_else(lost)?, child.stdout.take().ok_or_else(lost)?, child.stderr.take());
    // The program may answer before it has read everything, so both directions run concurrently.
    let feeding = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut body = StreamReader::new(request.into_body().into_data_stream().map_err(std::io::Error::other));
        if let Err(error) = tokio::io::copy(&mut body, &mut stdin).await {
            tracing::debug!(%error, "request body of git http-backend ended early");
        }
    }));
    tokio::spawn(report(stderr));
    let running = Running { _child: child, _feeding: feeding };
    respond(BufReader::new(stdout), running).await
}

async fn respond(mut stdout: BufReader<ChildStdout>, running: Running) -> std::io::Result<Response> {
    let mut response = Response::builder();
    let mut head = (&mut stdout).take(HEADER_BYTES);
    loop {
        let mut line = String::new();
        if head.read_line(&mut line).await? == 0 {
            return Err(std::io::Error::other("it ended before the end of its headers"));
        }
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| std::io::Error::other("a header without colon"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            response = response.status(StatusCode::from_str(code).map_err(std::io::Error::other)?);
        } else {
            let name = HeaderName::from_str(name).map_err(std::io::Error::other)?;
            response = response.header(name, HeaderValue::from_str(value).map_err(std::io::Error::other)?);
        }
    }
    let body = ReaderStream::new(stdout).map(move |chunk| {
        let _keep = &running;
        chunk
    });
    response.body(Body::from_stream(body)).map_err(std::io::Error::other)
}

/// Logs the program's errors. At debug level, because clients that disconnect also cause some.
async fn report(stderr: Option<ChildStderr>) {
    let mut text = String::new();
    if let Some(stderr) = stderr
        && stderr.take(STDERR_BYTES).read_to_string(&mut text).await.is_ok()
        && !text.is_empty()
    {
        tracing::debug!(text, "git http-backend");
    }
}
