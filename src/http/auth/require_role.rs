//! Extractors that authenticate a request and check the role of its caller.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::Grant;
use crate::domain::principal::{Caller, Role};
use crate::http::ApiState;
use crate::http::auth::error::AccessError;
use crate::http::error::ApiError;
use crate::http::middleware::audit_refusals::CallerSlot;
use crate::http::middleware::real_ip::Origin;
use crate::http::middleware::request_id::request_id;

/// A role as a type, so that a handler's signature can name it.
pub trait MinimumRole {
    /// A caller with this role or a higher one is accepted.
    const ROLE: Role;
}

/// Type parameter of [`RequireRole`] that requires [`Role::Viewer`] or higher.
#[derive(Debug)]
pub struct Viewer;

/// Type parameter of [`RequireRole`] that requires [`Role::Deployer`] or higher.
#[derive(Debug)]
pub struct Deployer;

/// Type parameter of [`RequireRole`] that requires [`Role::Approver`] or higher.
#[derive(Debug)]
pub struct Approver;

/// Type parameter of [`RequireRole`] that requires [`Role::Admin`] or higher.
#[derive(Debug)]
pub struct Admin;

impl MinimumRole for Admin {
    const ROLE: Role = Role::Admin;
}

impl MinimumRole for Viewer {
    const ROLE: Role = Role::Viewer;
}

impl MinimumRole for Deployer {
    const ROLE: Role = Role::Deployer;
}

impl MinimumRole for Approver {
    const ROLE: Role = Role::Approver;
}

/// An authenticated caller with at least the role `R`. Must be the first argument of a handler after the state, so that a rejected caller learns
/// nothing about the validity of the other arguments.
#[derive(Debug)]
pub struct RequireRole<R> {
    /// The caller, with the address and id of the request.
    pub caller: Caller,
    /// The grant that authenticated the caller.
    pub grant: Grant,
    role: PhantomData<R>,
}

impl<R: MinimumRole> RequireRole<R> {
    /// Checks the role of a caller whose request was authenticated for a lower one.
    ///
    /// # Errors
    /// [`AccessError::NotAllowed`] if the role is too low.
    pub fn of(caller: &Caller, grant: &Grant) -> Result<Self, ApiError> {
        check(caller, R::ROLE)?;
        Ok(Self { caller: caller.clone(), grant: grant.clone(), role: PhantomData })
    }
}

impl<R: MinimumRole> FromRequestParts<ApiState> for RequireRole<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let grant = state.auth.grant(parts).await?;
        let caller = caller(&grant, parts, state).await;
        check(&caller, R::ROLE)?;
        Ok(Self { caller, grant, role: PhantomData })
    }
}

/// A caller who may read the deployment in the path: authenticated as for [`RequireRole<Viewer>`], or by a ticket for this deployment.
#[derive(Debug)]
pub struct DeploymentReader {
    /// The caller, with the address and id of the request.
    pub caller: Caller,
}

impl FromRequestParts<ApiState> for DeploymentReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let deployment = deployment(parts, state).await;
        let grant = state.auth.grant_or_ticket(parts, deployment.as_deref()).await?;
        Ok(Self { caller: caller(&grant, parts, state).await })
    }
}

/// Id of the deployment in the path; none when the path has no id.
async fn deployment(parts: &mut Parts, state: &ApiState) -> Option<String> {
    Path::<String>::from_request_parts(parts, state).await.ok().map(|Path(id)| id)
}

/// The outcome of authenticating a stream request, by any credential or a ticket. The handler answers a failure itself, because a stream must not
/// get 503 when the database is unavailable: `EventSource` would never reconnect.
#[derive(Debug)]
pub struct StreamGrant(pub Result<Grant, ApiError>);

impl FromRequestParts<ApiState> for StreamGrant {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        let deployment = deployment(parts, state).await;
        let grant = state.auth.grant_or_ticket(parts, deployment.as_deref()).await;
        if let Ok(grant) = &grant {
            note(grant);
            state.requests.enter(&grant.principal, origin(parts, state).await);
        }
        Ok(Self(grant))
    }
}

async fn origin(parts: &mut Parts, state: &ApiState) -> IpAddr {
    match Origin::from_request_parts(parts, state).await {
        Ok(Origin(address)) => address,
        Err(never) => match never {},
    }
}

async fn caller(grant: &Grant, parts: &mut Parts, state: &ApiState) -> Caller {
    note(grant);
    let address = origin(parts, state).await;
    state.requests.enter(&grant.principal, address);
    let request_id = request_id(&parts.headers).to_owned();
    let caller = Caller { principal: Arc::clone(&grant.principal), request_id, address };
    if let Some(slot) = parts.extensions.get::<CallerSlot>() {
        slot.set(&caller);
    }
    caller
}

/// Records the subject in the request's span, so that every log line of the request carries it.
fn note(grant: &Grant) {
    if let Some(subject) = grant.principal.known_subject() {
        tracing::Span::current().record("caller", subject);
    }
}

/// Checks that the caller has at least the role `needed`.
///
/// # Errors
/// [`AccessError::NotAllowed`] otherwise.
pub fn check(caller: &Caller, needed: Role) -> Result<(), ApiError> {
    let role = caller.principal.role;
    if role >= needed { Ok(()) } else { Err(AccessError::NotAllowed { needed, role }.into()) }
}
