//! Traces and counts every call to AWS, for all services, and reports throttled ones to the budgets.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use aws_sdk_sts::config::interceptors::{BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_sts::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sts::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use serde::Deserialize;
use tracing::Span;

use super::budget::Scope;
use super::error::kind;
use crate::clients::{ErrorKind, call_span};
use crate::metrics::{AwsCalls, CallOutcome};

/// Interceptor that only observes calls.
#[derive(Clone, Debug)]
pub(super) struct CallObserver {
    calls: Arc<AwsCalls>,
    /// Budgets that learn when AWS throttles a call.
    scope: Option<Scope>,
}

/// A running call. Dropping it ends the span, also when the caller drops the call.
#[derive(Debug)]
struct RunningCall {
    name: String,
    began: Instant,
    span: Span,
}

impl Storable for RunningCall {
    type Storer = StoreReplace<Self>;
}

impl CallObserver {
    pub(super) fn new(calls: AwsCalls, scope: Option<Scope>) -> Self {
        Self { calls: Arc::new(calls), scope }
    }

    /// The metrics that the clients share.
    pub(super) fn calls(&self) -> &AwsCalls {
        &self.calls
    }
}

impl Intercept for CallObserver {
    fn name(&self) -> &'static str {
        "CallObserver"
    }

    // `read_before_execution` comes too early: the SDK does not know the call's name yet.
    fn read_before_serialization(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(metadata) = config.load::<Metadata>() else { return Ok(()) };
        let name = format!("{}:{}", prefix(metadata.service()), metadata.name());
        let span = call_span::open(&name);
        config.interceptor_state().store_put(RunningCall { name, began: Instant::now(), span });
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(call) = config.load::<RunningCall>() {
            let outcome = outcome(context.response());
            self.calls.tried(&call.name, outcome);
            if outcome == CallOutcome::Throttled
                && let Some(scope) = &self.scope
            {
                scope.throttled(&call.name);
            }
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(call) = config.load::<RunningCall>() else { return Ok(()) };
        self.calls.ended(&call.name, call.began.elapsed());
        if !context.response().is_some_and(|answer| answer.status().is_success()) {
            let code = context.response().and_then(code);
            call_span::record_failure(&call.span, code.as_deref().unwrap_or("no answer"));
        }
        Ok(())
    }
}

/// Returns the service's prefix in names of IAM permissions.
fn prefix(service: &str) -> Cow<'static, str> {
    match service {
        "SFN" => "states".into(),
        "EventBridge" => "events".into(),
        "Elastic Load Balancing v2" => "elasticloadbalancing".into(),
        "Secrets Manager" => "secretsmanager".into(),
        other => other.to_ascii_lowercase().replace(' ', "").into(),
    }
}

fn outcome(answer: Option<&HttpResponse>) -> CallOutcome {
    let Some(answer) = answer else { return CallOutcome::Unavailable };
    if answer.status().is_success() {
        return CallOutcome::Done;
    }
    match kind(code(answer).as_deref(), answer.status().as_u16()) {
        ErrorKind::Throttled => CallOutcome::Throttled,
        ErrorKind::Unavailable => CallOutcome::Unavailable,
        _ => CallOutcome::Refused,
    }
}

/// Extracts the error code from the header or body where the protocol puts it.
fn code(answer: &HttpResponse) -> Option<String> {
    #[derive(Deserialize)]
    struct Error {
        #[serde(rename = "__type")]
        code: String,
    }
    let body = answer.body().bytes().unwrap_or_default();
    let of_json = || serde_json::from_slice::<Error>(body).ok().map(|error| error.code);
    let of_xml = || {
        let text = std::str::from_utf8(body).ok()?;
        Some(text.split_once("<Code>")?.1.split_once("</Code>")?.0.to_owned())
    };
    let code = answer.headers().get("x-amzn-errortype").map(str::to_owned).or_else(of_json).or_else(of_xml)?;
    // `com.amazonaws.sfn#ThrottlingException:http://…`
    let code = code.rsplit('#').next()?.split(':').next()?;
    Some(code.to_owned())
}
