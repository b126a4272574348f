//! What handlers ask for in their signatures.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::Right;
use crate::domain::principal::{Caller, Role};
use crate::http::ApiState;
use crate::http::audit::Asked;
use crate::http::error::ApiError;
use crate::http::extract::{Origin, request_id};

/// The least role that a handler asks for.
pub trait Least {
    /// It.
    const ROLE: Role;
}

/// Asks for a [`Role::Viewer`].
#[derive(Debug)]
pub struct Viewer;

/// Asks for a [`Role::Deployer`].
#[derive(Debug)]
pub struct Deployer;

/// Asks for a [`Role::Approver`].
#[derive(Debug)]
pub struct Approver;

/// Asks for a [`Role::Admin`].
#[derive(Debug)]
pub struct Admin;

impl Least for Admin {
    const ROLE: Role = Role::Admin;
}

impl Least for Viewer {
    const ROLE: Role = Role::Viewer;
}

impl Least for Deployer {
    const ROLE: Role = Role::Deployer;
}

impl Least for Approver {
    const ROLE: Role = Role::Approver;
}

/// A caller who has signed in and has the role that `R` names. The first argument of a handler, behind the state: whoever is not let in
/// learns nothing of what is wrong with the rest.
#[derive(Debug)]
pub struct Allowed<R> {
    /// Who asks, and from where.
    pub caller: Caller,
    /// What they were let in by.
    pub right: Right,
    role: PhantomData<R>,
}

impl<R: Least> FromRequestParts<ApiState> for Allowed<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let right = state.auth.right(parts).await?;
        let caller = caller(&right, parts, state).await;
        check(&caller, R::ROLE)?;
        Ok(Self { caller, right, role: PhantomData })
    }
}

/// A caller who may read the deployment of the path: as [`Allowed`] for a [`Viewer`], or with a ticket for it.
#[derive(Debug)]
pub struct Reads {
    /// Who asks, and from where.
    pub caller: Caller,
}

impl FromRequestParts<ApiState> for Reads {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let deployment = deployment(parts, state).await;
        let right = state.auth.right_or_ticket(parts, deployment.as_deref()).await?;
        Ok(Self { caller: caller(&right, parts, state).await })
    }
}

/// The deployment that the path names; none when it names none.
async fn deployment(parts: &mut Parts, state: &ApiState) -> Option<String> {
    Path::<String>::from_request_parts(parts, state).await.ok().map(|Path(id)| id)
}

/// Whoever asks for a stream: the answer to that is the handler's, which must not be 503 when it cannot be told who is there.
#[derive(Debug)]
pub struct Asks(pub Result<Right, ApiError>);

impl FromRequestParts<ApiState> for Asks {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        let deployment = deployment(parts, state).await;
        let right = state.auth.right_or_ticket(parts, deployment.as_deref()).await;
        if let Ok(right) = &right {
            note(right);
        }
        Ok(Self(right))
    }
}

async fn caller(right: &Right, parts: &mut Parts, state: &ApiState) -> Caller {
    note(right);
    let address = match Origin::from_request_parts(parts, state).await {
        Ok(Origin(address)) => address,
        Err(never) => match never {},
    };
    let request_id = request_id(&parts.headers).to_owned();
    let caller = Caller { principal: Arc::clone(&right.principal), request_id, address };
    if let Some(slot) = parts.extensions.get::<Asked>() {
        slot.is(&caller);
    }
    caller
}

/// Every line of the log about this request says whose it is.
fn note(right: &Right) {
    if let Some(subject) = right.principal.known_subject() {
        tracing::Span::current().record("caller", subject);
    }
}

/// Whether the caller has at least this role.
pub fn check(caller: &Caller, needed: Role) -> Result<(), ApiError> {
    let role = caller.principal.role;
    if role >= needed { Ok(()) } else { Err(ApiError::NotAllowed { needed, role }) }
}
