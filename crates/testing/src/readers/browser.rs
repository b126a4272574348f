//! Headless Chromium on a page with two readers: its own EventSource, and clients/js.

use std::process::Stdio;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use url::Url;

use super::progress::ForeignReader;
use crate::installed::program;
use crate::root;

/// Program names of Chromium.
pub const NAMES: [&str; 5] =
    ["chromium", "google-chrome", "google-chrome-stable", "chrome-headless-shell", "chromium-browser"];

/// Serves the page and receives its reports: another origin than Panda's, as for most front ends.
pub struct Pages {
    listener: TcpListener,
    pub origin: String,
}

/// A browser with the page open; dropping it closes it.
pub struct Browser {
    pub plain: ForeignReader,
    /// Reads through `clients/js`, which reconnects by itself.
    pub follow: ForeignReader,
    _chromium: Child,
    _profile: TempDir,
}

#[derive(Clone)]
struct Reports {
    plain: ForeignReader,
    follow: ForeignReader,
}

impl Pages {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        Self { listener, origin }
    }

    /// Opens the page: the plain EventSource reads from `direct`, clients/js from `front`.
    pub fn open(self, direct: &str, front: &str, id: &str) -> Browser {
        let reports = Reports {
            plain: ForeignReader::new("Chromium's EventSource"),
            follow: ForeignReader::new("clients/js in Chromium"),
        };
        let (plain, follow) = (reports.plain.clone(), reports.follow.clone());
        let app = Router::new()
            .route("/", get(async || Html(include_str!("../../readers/page.html"))))
            .route("/client/{file}", get(module))
            .route("/report/{reader}", post(report))
            .with_state(reports);
        tokio::spawn(async move { axum::serve(self.listener, app).await });
        let query = [("direct", direct), ("front", front), ("id", id)];
        let page = Url::parse_with_params(&self.origin, query).unwrap();
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(program(&NAMES));
        // Root's Chromium has no sandbox, and a container's /dev/shm is small; the port keeps a headless one open.
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg(page.as_str());
        // Keeps its files out of the home folder.
        command.env("HOME", profile.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Browser { plain, follow, _chromium: command.kill_on_drop(true).spawn().unwrap(), _profile: profile }
    }
}

/// A published file of clients/js.
async fn module(UrlPath(file): UrlPath<String>) -> Response {
    let source = root().join("clients/js/src").join(file);
    match std::fs::read_to_string(source) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/javascript")], text).into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn report(State(reports): State<Reports>, UrlPath(reader): UrlPath<String>, body: String) {
    let reader = if reader == "plain" { reports.plain } else { reports.follow };
    reader.record(serde_json::from_str(&body).unwrap());
}
