//! The HTTP server: one port for all services and the control calls.
//!
//! Uses a separate accept loop instead of `axum::serve`, because a lost reply requires closing the connection without writing.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::super::accounts::{AuthError, AwsCaller, REGION};
use super::super::aws::error::AwsError;
use super::super::aws::service::AwsService;
use super::super::calls;
use super::super::control;
use super::super::effects::CallCount;
use super::super::faults::{CallFault, FaultsHandle};
use super::super::planned::PlannedError;
use super::super::simulation::Simulation;
use super::reply;
use super::request::Call;

const BODY_LIMIT: usize = 4 << 20;

/// The fault `lose_reply`: the call took effect, and its response must not be sent.
#[derive(Debug, thiserror::Error)]
#[error("reply lost by an injected fault")]
struct ReplyLost;

/// Accepts connections until the sandbox stops.
pub async fn serve(listener: TcpListener, simulation: Arc<Simulation>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Usually out of file descriptors: retry when some are free.
                tracing::warn!(%error, "sandbox cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let shared = Arc::clone(&simulation);
        simulation.spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            let connection =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "sandbox connection ended");
            }
        });
    }
}

async fn answer(simulation: Arc<Simulation>, request: Request<Incoming>) -> Result<Response<Body>, ReplyLost> {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(Body::new(body), BODY_LIMIT).await else {
        return Ok(reply::control(StatusCode::PAYLOAD_TOO_LARGE, "{}".to_owned()));
    };
    let place = simulation.place;
    let body = place.exchange_request(&mut parts.headers, body);
    if let Some((key, path)) = parts.uri.path().strip_prefix("/_sandbox/").and_then(|rest| rest.split_once('/'))
        && key == simulation.control_key
    {
        let (status, body) = control::handle(&simulation, &parts.method, path, &body);
        return Ok(reply::control(status, place.outward(body)));
    }
    let Some(call) = Call::parse(parts.uri.path(), &parts.headers, body) else {
        tracing::warn!(path = parts.uri.path(), "sandbox: request of no known service");
        let error = AwsError::new("UnknownOperationException", "no service of the sandbox knows this request");
        return Ok(reply::failure(AwsService::Events, &error));
    };
    let name = call.name();
    let planned = planned(&simulation, &call, &name);
    let result = match (simulation.accounts.authenticate(&parts.headers), &planned) {
        (Ok(_), Some(planned)) if !planned.lose_reply => Err(answer_of(planned)),
        (Ok(caller), _) => run(&simulation, &caller, &call, &name).await,
        (Err(error), _) => Err(refused(call.service, error)),
    };
    simulation.change(|state| {
        let count: &mut CallCount = state.effects.calls.entry(name.clone()).or_default();
        count.received += 1;
        count.succeeded += u32::from(result.is_ok());
    });
    match result {
        Ok(_) if planned.is_some() => Err(ReplyLost),
        Ok(_) if simulation.faults.take(|f| f.calls.get_mut(&name).map(|fault| &mut fault.lose_reply)) => {
            Err(ReplyLost)
        }
        Ok(body) => Ok(reply::success(call.service, place.outward(body))),
        Err(mut error) => {
            tracing::debug!(call = name, code = error.code, message = error.message, "sandbox rejects a call");
            error.message = place.outward(error.message);
            Ok(reply::failure(call.service, &error))
        }
    }
}

async fn run(simulation: &Arc<Simulation>, caller: &AwsCaller, call: &Call, name: &str) -> Result<String, AwsError> {
    if let Some(size) = simulation.faults.get().quotas.get(name)
        && !simulation.quotas.admit(&caller.account, name, *size, Instant::now())
    {
        simulation.change(|state| state.effects.calls.entry(name.to_owned()).or_default().throttled += 1);
        return Err(throttled(call.service));
    }
    if let Some(error) = fault(&simulation.faults, call.service, name, caller) {
        return Err(error);
    }
    calls::dispatch(simulation, caller, call.service, &call.operation, &call.body).await
}

/// The planned error that this call meets: its own, its service's, or that of every call.
fn planned(simulation: &Simulation, call: &Call, name: &str) -> Option<PlannedError> {
    let (none, seed) = simulation.faults.look(|faults| (faults.calls.is_empty(), faults.seed));
    if none {
        return None;
    }
    let of_service = format!("{}:*", call.service.iam_prefix());
    [name, of_service.as_str(), "*"]
        .into_iter()
        .find_map(|key| simulation.faults.planned(key, |index| simulation.dice.roll(seed, &format!("{key}#{index}"))))
}

fn answer_of(planned: &PlannedError) -> AwsError {
    let code = planned.code.clone().unwrap_or_default();
    let message = planned.message.clone().unwrap_or_else(|| "injected by the scenario".to_owned());
    let status = planned.status.and_then(|status| StatusCode::from_u16(status).ok());
    AwsError { status: status.unwrap_or(StatusCode::BAD_REQUEST), ..AwsError::new(code, message) }
}

/// The injected error for this call, if any.
fn fault(faults: &FaultsHandle, service: AwsService, name: &str, caller: &AwsCaller) -> Option<AwsError> {
    let fault: CallFault = faults.look(|faults| faults.calls.get(name).cloned())?;
    let query = service.is_query();
    if fault.deny {
        let message = format!("User: {} is not authorized to perform: {name}", caller.arn);
        return Some(if query {
            AwsError::forbidden("AccessDenied", message)
        } else {
            AwsError::new("AccessDeniedException", message)
        });
    }
    if faults.take(|f| f.calls.get_mut(name).map(|fault| &mut fault.throttle)) {
        return Some(throttled(service));
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

fn throttled(service: AwsService) -> AwsError {
    let query = service.is_query();
    AwsError::new(if query { "Throttling" } else { "ThrottlingException" }, "Rate exceeded")
}

fn refused(service: AwsService, error: AuthError) -> AwsError {
    let query = service.is_query();
    match error {
        AuthError::Missing if query => {
            AwsError::forbidden("MissingAuthenticationToken", "Request is missing Authentication Token")
        }
        AuthError::Missing => AwsError::new("MissingAuthenticationTokenException", "Missing Authentication Token"),
        AuthError::Expired if query => {
            AwsError::forbidden("ExpiredToken", "The security token included in the request is expired")
        }
        AuthError::Expired => {
            AwsError::new("ExpiredTokenException", "The security token included in the request is expired")
        }
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
