//! What every view needs: language, theme, addresses below the base path, and the caller.

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use url::{Url, form_urlencoded};

use super::assets;
use crate::domain::lang::Lang;
use crate::domain::message::page_text;
use crate::domain::principal::{Caller, Role};
use crate::http::ApiState;
use crate::http::auth::error::AccessError;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::error::ApiError;
use crate::http::error::server::ServerError;
use crate::http::language::{self, AskedLang};
use crate::http::middleware::security_headers::PAGE_POLICY;

/// Cookie with the chosen language. Set by the page's script.
const LANG_COOKIE: &str = "panda_lang";

/// Cookie with the chosen theme, `dark` or `light`. Set by the page's script.
const THEME_COOKIE: &str = "panda_theme";

/// Address of the view at which callers sign in.
pub const SIGN_IN: &str = "/sign-in";

/// A request for a view, before the caller is known. Templates call its methods.
#[derive(Clone, Debug)]
pub struct Page {
    /// Language of all texts.
    pub lang: Lang,
    /// Chosen theme; none for that of the browser.
    pub theme: Option<&'static str>,
    base: Arc<str>,
    /// Address at which others reach Panda, without a slash at its end; none where it is not configured.
    public: Option<Arc<str>>,
    /// Path and query of the request, without the base path.
    pub path: String,
    /// The caller; none at the sign-in view and on errors.
    pub caller: Option<Caller>,
}

impl Page {
    /// Reads language, theme and path of a request.
    pub fn of(parts: &Parts, state: &ApiState) -> Self {
        let cookie = |name| cookie(&parts.headers, name);
        let asked = AskedLang::of(&parts.uri, &parts.headers);
        let lang = asked.named().or_else(|| cookie(LANG_COOKIE)?.parse().ok()).or_else(|| asked.texts());
        let theme = match cookie(THEME_COOKIE) {
            Some("dark") => Some("dark"),
            Some("light") => Some("light"),
            _ => None,
        };
        Self {
            lang: lang.unwrap_or(state.config.language),
            theme,
            base: state.config.base_path.as_str().into(),
            public: state.manifests.public.as_ref().map(|url| url.as_str().trim_end_matches('/').into()),
            path: parts.uri.path_and_query().map_or_else(String::new, |path| path.as_str().to_owned()),
            caller: None,
        }
    }

    /// Renders a text of the page.
    pub fn t(&self, name: &str) -> String {
        page_text(name, &[], self.lang)
    }

    /// Renders the text of a value, such as the status `FAILED`: `status.FAILED`.
    pub fn named(&self, group: &str, value: impl AsRef<str>) -> String {
        self.t(&format!("{group}.{}", value.as_ref()))
    }

    /// Renders a text of the page with parameters.
    pub fn fill(&self, name: &str, params: &[(&str, &str)]) -> String {
        page_text(name, params, self.lang)
    }

    /// Base path, empty or like `/panda`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Address of a view or an API call: `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Address at which others reach Panda; none where it is not configured.
    pub fn public(&self) -> Option<&str> {
        self.public.as_deref()
    }

    /// Address of a path for others, such as GitHub: the whole address where it is configured, else the path. Scripts complete it.
    pub fn public_url(&self, path: &str) -> String {
        self.public.as_deref().map_or_else(|| self.url(path), |public| format!("{public}{path}"))
    }

    /// Address of a file of the folder `page`.
    pub fn asset(&self, name: &str) -> String {
        format!("{}/assets/{}/{name}", self.base, *assets::HASH)
    }

    /// True for the view whose path begins so; `/` is the list only.
    pub fn is_at(&self, path: &str) -> bool {
        let own = self.path.split('?').next().unwrap_or_default();
        if path == "/" { own == "/" || own.starts_with("/deployments/") } else { own.starts_with(path) }
    }

    /// True when the caller has this role, or a higher one.
    pub fn may(&self, role: &str) -> bool {
        let needed: Option<Role> = role.parse().ok();
        self.caller.as_ref().zip(needed).is_some_and(|(caller, needed)| caller.principal.role >= needed)
    }

    /// Name of the caller; none while authentication is off.
    pub fn subject(&self) -> Option<&str> {
        self.caller.as_ref()?.principal.known_subject()
    }

    /// Role of the caller.
    pub fn role(&self) -> &'static str {
        self.caller.as_ref().map_or("", |caller| caller.principal.role.as_str())
    }
}

/// A caller who may read views: signed in, with any role. Others are sent to [`SIGN_IN`].
#[derive(Debug)]
pub struct Visitor {
    /// The page, with its caller.
    pub page: Page,
    /// The caller, whose scope limits what the view reads.
    pub caller: Caller,
}

impl FromRequestParts<ApiState> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Response> {
        match RequireRole::<Viewer>::from_request_parts(parts, state).await {
            Ok(RequireRole { caller, .. }) => {
                let page = Page { caller: Some(caller.clone()), ..Page::of(parts, state) };
                Ok(Self { page, caller })
            }
            Err(ApiError::Access(AccessError::NotSignedIn(_))) if state.auth.session_lifetime().is_some() => {
                let next: String = form_urlencoded::byte_serialize(Page::of(parts, state).path.as_bytes()).collect();
                // The base path is added to redirects by `middleware::base_path`, where it was part of the request.
                Err(Redirect::to(&format!("{SIGN_IN}?next={next}")).into_response())
            }
            Err(error) => Err(error.into_response()),
        }
    }
}

/// Renders a view.
///
/// # Errors
/// The template failed, which is a bug.
pub fn render(page: &Page, view: &impl Template) -> Result<Response, ApiError> {
    render_with(page, view, HeaderValue::from_static(PAGE_POLICY))
}

/// Renders a view with a form that is posted to a page of `target`, which the content security policy permits on this view only.
///
/// # Errors
/// The template failed, which is a bug.
pub fn render_posting_to(page: &Page, view: &impl Template, target: &Url) -> Result<Response, ApiError> {
    let origin = target.origin().ascii_serialization();
    let policy = PAGE_POLICY.replace("form-action 'self'", &format!("form-action 'self' {origin}"));
    render_with(page, view, HeaderValue::try_from(policy).map_err(|_| ServerError::Internal)?)
}

fn render_with(page: &Page, view: &impl Template, policy: HeaderValue) -> Result<Response, ApiError> {
    let html = view.render().map_err(|error| {
        tracing::error!(%error, "page not rendered");
        ServerError::Internal
    })?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Addresses of views may name repositories, so that no other site gets them; the page's forms need their origin.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    language::label(&mut headers, page.lang);
    headers.append(header::VARY, HeaderValue::from_static("cookie"));
    Ok((headers, html).into_response())
}

/// The value of the first cookie of this name.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}
