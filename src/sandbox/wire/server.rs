//! The server: one port for every service and for the sandbox's own control calls.
//!
//! Its own accept loop instead of `axum::serve`, because a lost reply means closing the connection with nothing written.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::super::accounts::{AuthError, Caller, REGION};
use super::super::aws::{self, error::AwsError};
use super::super::control;
use super::super::effects::CallCount;
use super::super::faults::{CallFault, FaultsHandle};
use super::super::world::World;
use super::reply;
use super::request::{Call, Service};

const BODY_LIMIT: usize = 4 << 20;

/// The effect has happened; the answer is not to be sent.
#[derive(Debug, thiserror::Error)]
#[error("the reply is lost on purpose")]
struct ReplyLost;

/// Accepts connections until the sandbox ends.
pub async fn serve(listener: TcpListener, world: Arc<World>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, usually: go on once some are free.
                tracing::warn!(%error, "sandbox cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let shared = Arc::clone(&world);
        world.spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            let connection =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "sandbox connection ended");
            }
        });
    }
}

async fn answer(world: Arc<World>, request: Request<Incoming>) -> Result<Response<Body>, ReplyLost> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(Body::new(body), BODY_LIMIT).await else {
        return Ok(reply::control(StatusCode::PAYLOAD_TOO_LARGE, "{}".to_owned()));
    };
    if let Some((key, path)) = parts.uri.path().strip_prefix("/_sandbox/").and_then(|rest| rest.split_once('/'))
        && key == world.control_key
    {
        let (status, body) = control::handle(&world, &parts.method, path, &body);
        return Ok(reply::control(status, body));
    }
    let Some(call) = Call::parse(&parts.headers, body) else {
        tracing::warn!(path = parts.uri.path(), "sandbox: a request that is no known service's call");
        let error = AwsError::new("UnknownOperationException", "no service of the sandbox knows this request");
        return Ok(reply::failure(Service::Events, &error));
    };
    let name = call.name();
    let result = match world.accounts.authenticate(&parts.headers) {
        Ok(caller) => run(&world, &caller, &call, &name).await,
        Err(error) => Err(refused(call.service, error)),
    };
    world.change(|state| {
        let count: &mut CallCount = state.effects.calls.entry(name.clone()).or_default();
        count.received += 1;
        count.succeeded += u32::from(result.is_ok());
    });
    match result {
        Ok(_) if world.faults.take(|f| f.calls.get_mut(&name).map(|fault| &mut fault.lose_reply)) => Err(ReplyLost),
        Ok(body) => Ok(reply::success(call.service, body)),
        Err(error) => {
            tracing::debug!(call = name, code = error.code, message = error.message, "sandbox refuses a call");
            Ok(reply::failure(call.service, &error))
        }
    }
}

async fn run(world: &Arc<World>, caller: &Caller, call: &Call, name: &str) -> Result<String, AwsError> {
    if let Some(error) = fault(&world.faults, call.service, name, caller) {
        return Err(error);
    }
    aws::dispatch(world, caller, call.service, &call.operation, &call.body).await
}

/// The error that the settings want for this call, if any.
fn fault(faults: &FaultsHandle, service: Service, name: &str, caller: &Caller) -> Option<AwsError> {
    let fault: CallFault = faults.get().calls.get(name).cloned()?;
    let query = service == Service::Sts;
    if fault.deny {
        let message = format!("User: {} is not authorized to perform: {name}", caller.arn);
        return Some(if query {
            AwsError::forbidden("AccessDenied", message)
        } else {
            AwsError::new("AccessDeniedException", message)
        });
    }
    if faults.take(|f| f.calls.get_mut(name).map(|fault| &mut fault.throttle)) {
        return Some(AwsError::new(if query { "Throttling" } else { "ThrottlingException" }, "Rate exceeded"));
    }
    if faults.take(|f| f.calls.get_mut(name).map(|fault| &mut fault.fail)) {
        return Some(AwsError::server(
            "InternalFailure",
            "The request processing has failed because of an unknown error",
        ));
    }
    let refusal = fault.refuse?;
    let counted = refusal.times.is_some();
    let due = !counted
        || faults.take(|f| {
            f.calls.get_mut(name).and_then(|fault| fault.refuse.as_mut()).and_then(|refusal| refusal.times.as_mut())
        });
    due.then(|| AwsError::new(refusal.code, refusal.message))
}

fn refused(service: Service, error: AuthError) -> AwsError {
    let query = service == Service::Sts;
    match error {
        AuthError::Missing if query => {
            AwsError::forbidden("MissingAuthenticationToken", "Request is missing Authentication Token")
        }
        AuthError::Missing => AwsError::new("MissingAuthenticationTokenException", "Missing Authentication Token"),
        AuthError::UnknownKey if query => {
            AwsError::forbidden("InvalidClientTokenId", "The security token included in the request is invalid.")
        }
        AuthError::UnknownKey => {
            AwsError::new("UnrecognizedClientException", "The security token included in the request is invalid.")
        }
        AuthError::WrongRegion => {
            let message = format!("Credential should be scoped to a valid region; this sandbox is in {REGION}.");
            if query {
                AwsError::forbidden("SignatureDoesNotMatch", message)
            } else {
                AwsError::new("InvalidSignatureException", message)
            }
        }
    }
}
