//! `GET` and `POST /sign-in`: opens a session with a token, with or without scripts; `issuer` and `callback` do with an OpenID Connect issuer. A session
//! of the page may do what its credential may.

mod address;
pub mod callback;
pub mod done;
mod form;
pub mod issuer;
mod next;
pub mod sign_out;

use std::net::IpAddr;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use self::form::field;
use self::next::local_path;
use super::context::{Page, SIGN_IN, render};
use crate::db::tokens::CredentialForm;
use crate::domain::principal::Caller;
use crate::http::ApiState;
use crate::http::auth::error::AccessError;
use crate::http::auth::{Grant, headers};
use crate::http::error::ApiError;
use crate::http::extract::read_body;
use crate::http::middleware::csrf::PageOrigin;
use crate::http::middleware::error::AdmissionError;
use crate::http::middleware::real_ip::{Client, Origin};
use crate::http::middleware::request_id::request_id;
use crate::http::routes::session;

/// Marks the second load after a link of another site.
const AGAIN: &str = "again";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInView<'a> {
    page: &'a Page,
    issuers: Vec<(usize, String)>,
    next: &'a str,
    problem: Option<String>,
}

#[derive(Template)]
#[template(path = "signed_in.html")]
struct ContinueView<'a> {
    page: &'a Page,
    next: &'a str,
}

/// `GET /sign-in`: the form. A caller who is signed in already, or need not be, gets the view that `next` names.
pub async fn show(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let next = local_path(field(query, "next").as_deref());
    let granted = state.auth.grant(&parts).await;
    if state.auth.session_lifetime().is_none() || granted.is_ok_and(|grant| grant.form() == CredentialForm::PageSession)
    {
        return Ok(Redirect::to(&next).into_response());
    }
    let page = Page::of(&parts, &state);
    // A browser that follows a link of another site sends no SameSite=Strict cookie. It does when this page leads to the same address.
    let is_linked = parts.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    if is_linked && field(query, AGAIN).is_none() && headers::session(&parts.headers).is_none() {
        let again = format!("{SIGN_IN}?{}", form::query(&[("next", &next), (AGAIN, "1")]));
        return lead_to(&page, &again, HeaderMap::new());
    }
    show_form(&state, &page, &next, None)
}

/// `POST /sign-in`: a token opens a session.
pub async fn handle(
    State(state): State<ApiState>,
    Client(client): Client,
    Origin(address): Origin,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    // Not one of PANDA_CORS_ORIGINS: it could sign a user in with its own token.
    if parts.extensions.get() != Some(&PageOrigin::Own) {
        return Err(AdmissionError::OriginNotAllowed.into());
    }
    let body = read_body(Request::from_parts(parts.clone(), body), &state).await?;
    let (token, next) = (field(&body, "token").unwrap_or_default(), local_path(field(&body, "next").as_deref()));
    let page = Page::of(&parts, &state);
    let opened = async {
        state.auth.check_sign_in_rate(client)?;
        let grant = state.auth.grant_of_token(token.trim()).await?;
        begin_session(&state, &parts, &grant, address).await
    };
    match opened.await {
        Ok(headers) => Ok((headers, Redirect::to(&next)).into_response()),
        Err(error) => refuse(&state, &page, &next, &error),
    }
}

/// Opens a session that may do what `grant` may, and closes that of the request's cookie. Returns the headers of the response.
async fn begin_session(state: &ApiState, parts: &Parts, grant: &Grant, address: IpAddr) -> Result<HeaderMap, ApiError> {
    let Some(lasts) = state.auth.session_lifetime() else { return Ok(HeaderMap::new()) };
    let request_id = request_id(&parts.headers).to_owned();
    let caller = Caller { principal: Arc::clone(&grant.principal), request_id, address };
    let (headers, _) = session::begin(state, parts, (grant, &caller), lasts, true).await?;
    session::end(state, parts, address).await?;
    Ok(headers)
}

/// The form with the reason why the sign-in failed. Log and audit get no row: any client can fail, in any number.
fn refuse(state: &ApiState, page: &Page, next: &str, error: &ApiError) -> Result<Response, ApiError> {
    tracing::debug!(%error, "sign-in refused");
    let problem = error.problem().in_language(page.lang);
    let text = match error {
        ApiError::Access(AccessError::NotSignedIn(reason)) => {
            page.fill("access.refused", &[("reason", &reason.text(page.lang))])
        }
        _ => problem.detail.clone(),
    };
    let mut response = show_form(state, page, next, Some(text))?;
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
    if let Some(seconds) = problem.wait_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    Ok(response)
}

fn show_form(state: &ApiState, page: &Page, next: &str, problem: Option<String>) -> Result<Response, ApiError> {
    let issuers = state.auth.sign_in().map(|issuers| issuers.sign_in_issuers().collect()).unwrap_or_default();
    render(page, &SignInView { page, issuers, next, problem })
}

/// A page that leads to the path `next` by itself. A redirect would belong to the other site's navigation, which carries no SameSite=Strict cookie.
fn lead_to(page: &Page, next: &str, headers: HeaderMap) -> Result<Response, ApiError> {
    let mut response = render(page, &ContinueView { page, next })?;
    response.headers_mut().extend(headers);
    if let Ok(refresh) = format!("0; url={}", page.url(next)).parse() {
        response.headers_mut().insert(header::REFRESH, refresh);
    }
    Ok(response)
}
