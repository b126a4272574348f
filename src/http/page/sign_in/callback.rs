//! `GET /sign-in/callback`: an issuer returns the browser here, with a code or an error.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;

use super::address::redirect_uri;
use super::form::field;
use super::issuer::{COOKIE, cookie};
use super::next::local_path;
use super::{begin_session, lead_to, refuse, show_form};
use crate::domain::principal::Principal;
use crate::domain::text;
use crate::http::ApiState;
use crate::http::auth::oidc::OidcError;
use crate::http::auth::oidc::sign_in::{PendingSignIn, SignInError};
use crate::http::error::ApiError;
use crate::http::error::server::ServerError;
use crate::http::middleware::real_ip::{Client, Origin};
use crate::http::page::context::{self, Page};

/// Longest error code of an issuer that is shown, in characters.
const MAX_ERROR: usize = 64;

/// Reason why a sign-in was not finished.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// This browser did not begin the sign-in, began another one since, or began it too long ago; or the sign-in was finished already.
    #[error("no such sign-in in this browser")]
    NotBegun,
    /// The user, or the issuer's policy, refused.
    #[error("the issuer denies access")]
    Denied,
    /// Another error of the issuer.
    #[error("the issuer reports {0}")]
    Reported(String),
    /// The issuer refused the code.
    #[error("the issuer refused the code: {0}")]
    CodeRefused(String),
    /// Any other, which the API reports likewise.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Finishes the sign-in, and ends it in the browser in any case.
pub async fn handle(
    State(state): State<ApiState>,
    Client(client): Client,
    Origin(address): Origin,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let page = Page::of(&parts, &state);
    let pending = context::cookie(&parts.headers, COOKIE).and_then(PendingSignIn::read);
    // The cookie can be planted, so that its path is checked again.
    let next = local_path(pending.as_ref().map(|pending| pending.next.as_str()));
    let finished = async {
        state.auth.check_sign_in_rate(client).map_err(ApiError::from)?;
        let principal = finish(&state, &parts, pending.as_ref()).await?;
        let grant = state.auth.grant_of_subject(principal).await?;
        Ok(begin_session(&state, &parts, &grant, address).await?)
    };
    let mut response = match finished.await {
        Ok(headers) => lead_to(&page, &next, headers)?,
        Err(Failure::Api(error)) => refuse(&state, &page, &next, &error)?,
        Err(failure) => {
            tracing::debug!(error = %failure, "sign-in with an issuer refused");
            let mut response = show_form(&state, &page, &next, Some(text_of(&failure, &page)))?;
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    };
    response.headers_mut().append(header::SET_COOKIE, cookie("", 0, &parts, &state)?);
    Ok(response)
}

async fn finish(state: &ApiState, parts: &Parts, pending: Option<&PendingSignIn>) -> Result<Principal, Failure> {
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let returned = |name| field(query, name);
    let verifier = state.auth.sign_in().ok_or(ApiError::from(ServerError::RouteNotFound))?;
    let state_of = |pending: &&PendingSignIn| returned("state").is_some_and(|state| pending.has_state(&state));
    // RFC 9207: an answer of another issuer than the one that the browser was sent to.
    let same_issuer = |pending: &&PendingSignIn| returned("iss").is_none_or(|issuer| issuer == pending.issuer);
    let pending = pending.filter(state_of).filter(same_issuer).ok_or(Failure::NotBegun)?;
    match returned("error").as_deref() {
        Some("access_denied") => return Err(Failure::Denied),
        Some(other) => return Err(Failure::Reported(text::cut(&text::visible(other), MAX_ERROR))),
        None => {}
    }
    let code = returned("code").filter(|code| !code.is_empty()).ok_or(Failure::NotBegun)?;
    let redirect_uri = redirect_uri(parts, state)?;
    verifier.finish(pending, &redirect_uri, &code).await.map_err(|error| match error {
        SignInError::CodeRefused(code) => Failure::CodeRefused(code),
        SignInError::Token(error) => ApiError::from(error).into(),
        SignInError::Unavailable(error) => {
            tracing::warn!(issuer = pending.issuer, %error, "sign-in with an issuer not finished");
            ApiError::from(OidcError::Unavailable(error)).into()
        }
    })
}

fn text_of(failure: &Failure, page: &Page) -> String {
    match failure {
        Failure::NotBegun => page.t("access.not_begun"),
        Failure::Denied => page.t("access.denied"),
        Failure::Reported(code) => page.fill("access.reported", &[("code", code)]),
        Failure::CodeRefused(code) => page.fill("access.code_refused", &[("code", code)]),
        Failure::Api(error) => error.problem().in_language(page.lang).detail,
    }
}
