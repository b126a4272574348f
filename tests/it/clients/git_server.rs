//! A real smart-HTTP git server: `git http-backend` behind axum, with a token check.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, Response, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;
use url::Url;

pub(super) struct GitServer {
    pub(super) url: Url,
    /// Questions asked so far.
    pub(super) asked: Arc<AtomicUsize>,
    folder: TempDir,
}

impl GitServer {
    /// `/public/shop.git` is open, `/private/shop.git` asks for the token `t0ken-5f2c`, `/renamed/…` redirects to the first on
    /// the same host and `/away/…` on another, `/silent/…` never answers.
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "--quiet", "--initial-branch=main", "work"]);
        let root = folder.path().to_owned();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let url = super::serve(Router::new().fallback(move |request: Request| {
            counter.fetch_add(1, Ordering::Relaxed);
            answer(root.clone(), request)
        }))
        .await;
        Self { url, asked, folder }
    }

    pub(super) fn repository(&self, path: &str) -> Url {
        self.url.join(path).unwrap()
    }

    /// Commits one file on `branch`; the commit's id.
    pub(super) fn commit(&self, branch: &str, file: &str, text: &str) -> String {
        let work = self.folder.path().join("work");
        git(&work, &["checkout", "--quiet", "-B", branch]);
        let path = work.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        git(&work, &["add", "--all"]);
        git(&work, &["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "--message", file]);
        git(&work, &["rev-parse", "HEAD"])
    }
}

fn git(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(args).current_dir(folder).env("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z");
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn plain(status: StatusCode, header: (&str, &str)) -> Response<Body> {
    Response::builder().status(status).header(header.0, header.1).body(Body::empty()).unwrap()
}

async fn answer(root: PathBuf, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    if path.starts_with("/silent/") {
        std::future::pending::<()>().await;
    }
    if let Some(rest) = path.strip_prefix("/renamed/") {
        return plain(StatusCode::MOVED_PERMANENTLY, ("location", &format!("/public/{rest}?{query}")));
    }
    if let Some(rest) = path.strip_prefix("/away/") {
        let port = head.headers["host"].to_str().unwrap().split_once(':').unwrap().1;
        let location = format!("http://localhost:{port}/public/{rest}?{query}");
        return plain(StatusCode::MOVED_PERMANENTLY, ("location", &location));
    }
    let right = format!("Basic {}", STANDARD.encode("x-access-token:t0ken-5f2c"));
    if path.starts_with("/private/") && head.headers.get("authorization").is_none_or(|given| *given != right) {
        return plain(StatusCode::UNAUTHORIZED, ("www-authenticate", "Basic realm=\"git\""));
    }
    let Some(path) = path.strip_prefix("/public/shop.git").or_else(|| path.strip_prefix("/private/shop.git")) else {
        return plain(StatusCode::NOT_FOUND, ("content-type", "text/plain"));
    };
    let path = format!("/work/.git{path}");
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let method = head.method.to_string();
    tokio::task::spawn_blocking(move || backend(&root, &method, &path, &query, &head.headers, &body)).await.unwrap()
}

/// One CGI request.
fn backend(root: &Path, method: &str, path: &str, query: &str, headers: &HeaderMap, body: &Bytes) -> Response<Body> {
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    command.env("CONTENT_TYPE", header("content-type")).env("HTTP_CONTENT_ENCODING", header("content-encoding"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), body).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value[..3].parse::<u16>().unwrap()),
            _ => response.header(name, value),
        };
    }
    response.body(Body::from(output[end + 4..].to_vec())).unwrap()
}
