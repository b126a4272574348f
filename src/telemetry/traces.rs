//! OpenTelemetry traces, one per deployment. Its spans are the attempts, the steps of each attempt, and the steps' calls to external services.
//!
//! An attempt can outlive the process, so no process can keep its span open. A replica that works on the attempt creates child spans of the span id
//! in the row, and the replica that commits the end of the attempt exports the attempt's span with its original start time.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracerProvider};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::TelemetryError;
use crate::domain::Deployment;
use crate::domain::trace::attempt_span;

/// Time limit for sending the buffered spans when the process ends.
pub(super) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Instrumentation scope and default service name.
const SCOPE: &str = "panda";

/// Generates random ids, or returns the ids in `NEXT_IDS`.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

thread_local! {
    /// Ids of the next span that this thread creates, if they are given.
    static NEXT_IDS: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT_IDS.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT_IDS.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

/// Creates a provider that sends spans to the collector at `endpoint` (OTLP over HTTP). OpenTelemetry's standard variables set the headers, the time
/// limit and the service's name and attributes (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, …).
pub(super) fn provider(endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let mut url: url::Url = endpoint
        .parse()
        .map_err(|error| TelemetryError(format!("must be a URL such as http://collector:4318: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(TelemetryError(
            "must be an http:// or https:// URL with a host, such as http://collector:4318".to_owned(),
        ));
    }
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(url).build();
    let exporter = exporter.map_err(|error| TelemetryError(error.to_string()))?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(SCOPE);
    }
    let resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_id_generator(Ids::default())
        .with_resource(resource)
        .build();
    global::set_tracer_provider(provider.clone());
    Ok(provider)
}

/// Creates the layer that exports spans, with the log lines inside them as span events.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer(SCOPE));
    layer.with_location(false).with_threads(false).with_tracked_inactivity(false).with_target(false).with_level(false)
}

/// Makes `span` a child of the deployment's current attempt.
pub fn set_parent(span: &Span, deployment: &Deployment) {
    let Some((trace, attempt)) = ids(deployment) else { return };
    let parent = SpanContext::new(trace, attempt, TraceFlags::SAMPLED, true, TraceState::default());
    // Fails when no collector is configured: then there is no layer, and no parent is needed.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
}

/// Renames `span` to a name known only at run time.
pub fn rename(span: &Span, name: impl Into<std::borrow::Cow<'static, str>>) {
    span.context().span().update_name(name);
}

/// Marks the current span as failed.
pub fn mark_failed(code: &str, reason: &str) {
    let span = Span::current();
    span.set_attribute("error.type", code.to_owned());
    span.set_status(Status::error(reason.to_owned()));
}

/// Exports the span of an attempt that this replica's commit has just ended. If the process dies between the commit and this call, the collector has
/// only the attempt's child spans.
pub fn export_attempt(deployment: &Deployment, error: Option<&str>) {
    let Some((trace, attempt)) = ids(deployment) else { return };
    let parent = deployment.trace.parent.as_deref().and_then(|parent| SpanId::from_hex(parent).ok());
    let within = parent.map_or_else(Context::new, |parent| {
        let parent = SpanContext::new(trace, parent, TraceFlags::SAMPLED, true, TraceState::default());
        Context::new().with_remote_span_context(parent)
    });
    let of = |key: &'static str, value: &str| KeyValue::new(key, value.to_owned());
    let source = &deployment.requested.source;
    let attributes = vec![
        of("panda.deployment.id", &deployment.id),
        KeyValue::new("panda.deployment.attempt", i64::from(deployment.attempt)),
        of("panda.deployment.status", deployment.status.as_str()),
        of("panda.source.owner", &deployment.owner),
        of("panda.source.repo", &deployment.repo),
        KeyValue::new(format!("panda.source.{}", source.kind()), source.name().to_owned()),
    ];
    let builder = SpanBuilder::from_name(format!("deploy {}/{}", deployment.owner, deployment.repo))
        .with_kind(SpanKind::Server)
        .with_start_time(SystemTime::from(deployment.attempt_started_at))
        .with_attributes(attributes);
    NEXT_IDS.set(Some((trace, attempt)));
    let mut span = global::tracer(SCOPE).build_with_context(builder, &within);
    NEXT_IDS.set(None);
    if let Some(error) = error {
        span.set_status(Status::error(error.to_owned()));
    }
    span.end();
}

fn ids(deployment: &Deployment) -> Option<(TraceId, SpanId)> {
    let trace = TraceId::from_hex(&deployment.trace.id).ok()?;
    Some((trace, SpanId::from_bytes(attempt_span(&deployment.id, deployment.attempt))))
}
