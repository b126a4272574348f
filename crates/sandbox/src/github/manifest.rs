//! Apps that people create from a manifest, as GitHub's pages and its REST API do:
//! <https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest>.
//!
//! A page shows the manifest with a button; the button creates the App and leads back with a code, which can be exchanged once, within an hour. Another page
//! installs the App. The signed-in person owns every account.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};
use uuid::Uuid;

use super::app::InstalledApp;
use super::{Api, account, node_id, problem};

/// Longest name, in characters.
const MAX_NAME: usize = 34;

/// Account of the person who is signed in.
const PERSON: &str = "octocat";

/// Length of the header of a key of 2048 bits in PKCS#8; the rest is PKCS#1.
const PKCS8_HEADER: usize = 26;

const MEMBERS: [&str; 13] = [
    "name",
    "url",
    "hook_attributes",
    "redirect_url",
    "callback_urls",
    "setup_url",
    "setup_on_update",
    "description",
    "public",
    "default_events",
    "default_permissions",
    "request_oauth_on_install",
    "version",
];

/// Permissions of repositories with the levels that exist. GitHub has more.
const PERMISSIONS: [(&str, &[&str]); 6] = [
    ("contents", &["read", "write"]),
    ("metadata", &["read"]),
    ("deployments", &["read", "write"]),
    ("statuses", &["read", "write"]),
    ("checks", &["read", "write"]),
    ("issues", &["read", "write"]),
];

/// Events with the permission that each needs.
const EVENTS: [(&str, &str); 3] = [("push", "contents"), ("deployment", "deployments"), ("issues", "issues")];

/// An App that was created from a manifest.
#[derive(Clone, Debug)]
pub struct CreatedApp {
    /// Id of the App.
    pub id: u64,
    /// Its name in addresses.
    pub slug: String,
    /// The manifest, with the name that was chosen.
    pub manifest: Value,
    /// Secret of its webhook; none without an active one.
    pub webhook_secret: Option<String>,
    /// Exchanges of its code that succeeded: one at most.
    pub exchanges: usize,
    owner: String,
    code: String,
    code_until: DateTime<Utc>,
    private_key: String,
    public_key: Vec<u8>,
}

/// Apps in the order of their creation.
#[derive(Debug, Default)]
pub(super) struct CreatedApps(pub(super) Vec<CreatedApp>);

/// Pages at which people act, in their browsers.
pub(super) fn pages() -> Router<Api> {
    Router::new()
        .route("/settings/apps/new", post(review_own))
        .route("/organizations/{organization}/settings/apps/new", post(review_of_organization))
        .route("/settings/apps", post(create))
        .route("/apps/{slug}/installations/new", get(installation))
        .route("/apps/{slug}/installations", post(install))
}

pub(super) fn router() -> Router<Api> {
    Router::new().route("/app-manifests/{code}/conversions", post(exchange))
}

fn field(encoded: &[u8], name: &str) -> String {
    let found = form_urlencoded::parse(encoded).find(|(known, _)| known == name);
    found.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><link rel=icon href=data:,><title>{title}</title><h1>{title}</h1>{body}"
    );
    (status, Html(html)).into_response()
}

async fn review_own(State(api): State<Api>, RawQuery(query): RawQuery, body: Bytes) -> Response {
    review(&api, PERSON, query.as_deref().unwrap_or_default(), &body)
}

async fn review_of_organization(
    State(api): State<Api>,
    Path(organization): Path<String>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    review(&api, &organization, query.as_deref().unwrap_or_default(), &body)
}

/// The page that shows a manifest. It changes nothing.
fn review(api: &Api, owner: &str, query: &str, body: &[u8]) -> Response {
    let (state, text) = (field(query.as_bytes(), "state"), field(body, "manifest"));
    let manifest = match checked(api, &text) {
        Ok(manifest) => manifest,
        Err(error) => {
            let body = format!("<p class=error>{}</p>", escaped(&error));
            return page(StatusCode::UNPROCESSABLE_ENTITY, "Invalid GitHub App configuration", &body);
        }
    };
    let form = format!(
        "<form method=post action=/settings/apps><input type=hidden name=manifest value=\"{}\"><input type=hidden name=state value=\"{}\">\
         <input type=hidden name=owner value=\"{}\"><label>GitHub App name <input name=name value=\"{}\"></label><button id=create>Create GitHub App</button></form>",
        escaped(&text),
        escaped(&state),
        escaped(owner),
        escaped(manifest["name"].as_str().unwrap_or_default()),
    );
    page(StatusCode::OK, "Create GitHub App", &form)
}

/// Checks a manifest by GitHub's rules, as far as they are documented.
fn checked(api: &Api, text: &str) -> Result<Map<String, Value>, String> {
    let Ok(Value::Object(manifest)) = serde_json::from_str(text) else { return Err("the manifest is no JSON".into()) };
    if let Some(unknown) = manifest.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(format!("{unknown} is not a permitted key"));
    }
    let is_address = |value: &Value| {
        let url = value.as_str().and_then(|text| Url::parse(text).ok());
        url.is_some_and(|url| matches!(url.scheme(), "http" | "https"))
    };
    for (name, needed) in [("url", true), ("redirect_url", true), ("setup_url", false)] {
        let fits = manifest.get(name).map_or(!needed, is_address);
        fits.then_some(()).ok_or_else(|| format!("{name} must be a URL"))?;
    }
    if let Some(hook) = manifest.get("hook_attributes")
        && !is_address(&hook["url"])
    {
        return Err("hook_attributes.url must be a URL".into());
    }
    let name = manifest.get("name").and_then(Value::as_str).unwrap_or_default();
    if name.chars().count() > MAX_NAME {
        return Err(format!("Name is too long (maximum is {MAX_NAME} characters)"));
    }
    if api.created.read().0.iter().any(|app| app.manifest["name"] == name) {
        return Err("Name is already taken".into());
    }
    let none = Map::new();
    let permissions = manifest.get("default_permissions").and_then(Value::as_object).unwrap_or(&none);
    for (name, level) in permissions {
        let known = PERMISSIONS.iter().any(|(known, levels)| known == name && levels.iter().any(|one| level == one));
        known.then_some(()).ok_or_else(|| format!("default_permissions.{name} is not permitted"))?;
    }
    for event in manifest.get("default_events").and_then(Value::as_array).into_iter().flatten() {
        let known = EVENTS.iter().any(|(known, permission)| event == known && permissions.contains_key(*permission));
        known.then_some(()).ok_or_else(|| format!("Default events unsupported: {event}"))?;
    }
    Ok(manifest)
}

/// The button of [`review`].
async fn create(State(api): State<Api>, body: Bytes) -> Response {
    let name = field(&body, "name");
    let renamed = serde_json::from_str(&field(&body, "manifest")).map(|mut manifest: Map<String, Value>| {
        manifest.insert("name".into(), json!(name));
        Value::Object(manifest).to_string()
    });
    let manifest = match checked(&api, &renamed.unwrap_or_default()) {
        Ok(manifest) => manifest,
        Err(error) => return page(StatusCode::UNPROCESSABLE_ENTITY, &escaped(&error), ""),
    };
    let Ok(pair) = KeyPair::generate(KeySize::Rsa2048) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let Ok(der) = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let base64 = STANDARD.encode(der.as_ref().get(PKCS8_HEADER..).unwrap_or_default());
    let lines: Vec<String> =
        base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let slug: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let has_hook = manifest.get("hook_attributes").is_some_and(|hook| hook["active"] != false);
    let code = Uuid::new_v4().simple().to_string();
    let back = field(&body, "state");
    let redirect = manifest.get("redirect_url").and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
    let mut apps = api.created.write();
    let id = 1_000 + apps.0.len() as u64;
    apps.0.push(CreatedApp {
        id,
        slug,
        webhook_secret: has_hook.then(|| Uuid::new_v4().simple().to_string()),
        exchanges: 0,
        owner: field(&body, "owner"),
        code: code.clone(),
        code_until: Utc::now() + TimeDelta::hours(1),
        private_key: format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n", lines.join("\n")),
        public_key: pair.public_key().as_ref().to_vec(),
        manifest: Value::Object(manifest),
    });
    drop(apps);
    let Some(mut redirect) = redirect else { return StatusCode::UNPROCESSABLE_ENTITY.into_response() };
    redirect.query_pairs_mut().append_pair("code", &code);
    if !back.is_empty() {
        redirect.query_pairs_mut().append_pair("state", &back);
    }
    (StatusCode::FOUND, [(header::LOCATION, String::from(redirect))]).into_response()
}

/// The exchange of a code: <https://docs.github.com/rest/apps/apps#create-a-github-app-from-a-manifest>
async fn exchange(State(api): State<Api>, Path(code): Path<String>) -> Response {
    let mut apps = api.created.write();
    let now = Utc::now();
    let found = apps.0.iter_mut().find(|app| app.code == code && app.exchanges == 0 && app.code_until > now);
    let Some(app) = found else { return problem(StatusCode::NOT_FOUND, "Not Found") };
    app.exchanges += 1;
    let at = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    let answer = json!({
        "id": app.id,
        "slug": app.slug,
        "node_id": node_id("A", app.id),
        "client_id": format!("Iv23li{:014}", app.id),
        "client_secret": Uuid::new_v4().simple().to_string(),
        "webhook_secret": app.webhook_secret,
        "pem": app.private_key,
        "owner": account(&api, &app.owner),
        "name": app.manifest["name"],
        "description": null,
        "external_url": app.manifest["url"],
        "html_url": api.url(&format!("/apps/{}", app.slug)),
        "created_at": at,
        "updated_at": at,
        "permissions": app.manifest["default_permissions"],
        "events": app.manifest["default_events"],
    });
    (StatusCode::CREATED, Json(answer)).into_response()
}

/// The page that asks where to install an App.
async fn installation(State(api): State<Api>, Path(slug): Path<String>) -> Response {
    let apps = api.created.read();
    let Some(app) = apps.0.iter().find(|app| app.slug == slug) else {
        return page(StatusCode::NOT_FOUND, "Page not found", "");
    };
    let form = format!(
        "<form method=post action=/apps/{slug}/installations><label>Account <input name=account value=\"{}\"></label><button id=install>Install</button></form>",
        escaped(&app.owner)
    );
    page(StatusCode::OK, "Install GitHub App", &form)
}

/// The button of [`installation`].
async fn install(State(api): State<Api>, Path(slug): Path<String>, body: Bytes) -> Response {
    let app = api.created.read().0.iter().find(|app| app.slug == slug).cloned();
    let Some(app) = app else { return page(StatusCode::NOT_FOUND, "Page not found", "") };
    let installation = app.id + 70_000;
    *api.app.write() = Some(InstalledApp {
        id: app.id.to_string(),
        public_key: app.public_key,
        installation,
        owner: field(&body, "account"),
        suspended: false,
        created: 0,
    });
    let setup = app.manifest["setup_url"].as_str().and_then(|url| Url::parse(url).ok());
    let Some(mut setup) = setup else { return page(StatusCode::OK, "Installed", "") };
    setup
        .query_pairs_mut()
        .append_pair("installation_id", &installation.to_string())
        .append_pair("setup_action", "install");
    (StatusCode::FOUND, [(header::LOCATION, String::from(setup))]).into_response()
}
