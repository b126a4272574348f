//! `POST /sign-out`: ends the session of the request's cookie, with its event streams.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};

use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::middleware::real_ip::Origin;
use crate::http::page::context::SIGN_IN;
use crate::http::routes::session;

/// Ends the session. The cookie is sent to no other site's request, so that no other proof is needed.
pub async fn handle(
    State(state): State<ApiState>,
    Origin(address): Origin,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let (headers, _) = session::end(&state, &parts, address).await?;
    Ok((headers, Redirect::to(SIGN_IN)).into_response())
}
